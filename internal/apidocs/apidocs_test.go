package apidocs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

func get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	docs, err := New("v1")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	docs.Handler(path).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return w
}

// The page and the description name every public method, with what it takes and answers.
func TestEveryMethodIsDescribed(t *testing.T) {
	t.Parallel()
	page := get(t, PagePath).Body.String()
	var spec document
	if err := json.Unmarshal(get(t, SpecPath).Body.Bytes(), &spec); err != nil {
		t.Fatal(err)
	}
	for _, file := range []protoreflect.FileDescriptor{
		identityv1.File_tenon_identity_v1_identity_proto, registryv1.File_tenon_registry_v1_registry_proto,
		runsv1.File_tenon_runs_v1_runs_proto, workersv1.File_tenon_workers_v1_workers_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				path := "/" + string(service.FullName()) + "/" + string(m.Name())
				if _, ok := spec.Paths[path]; !ok {
					t.Errorf("%s is not in the description", path)
				}
				for _, want := range []string{"POST " + path, `href="#` + string(m.Input().Name()) + `"`, `href="#` + string(m.Output().Name()) + `"`} {
					if !strings.Contains(page, want) {
						t.Errorf("%s: the page lacks %s", path, want)
					}
				}
			}
		}
	}
}

// The page comes from this server alone, and each of its links leads somewhere.
func TestThePageNeedsNobodyElse(t *testing.T) {
	t.Parallel()
	answer := get(t, PagePath)
	page := answer.Body.String()
	for _, bad := range []string{"http://", "https://", "<script", "style=", "No description"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(answer.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("the page has no strict policy")
	}
	ids := make(map[string]bool)
	for _, m := range regexp.MustCompile(`id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("the id %s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("the link to %q leads nowhere", m[1])
		}
	}
}
