package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/examples/go/stdindex/index"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// One child a package, each under its own key, and exactly one of them flaky: fmt where there is one.
func TestChildren(t *testing.T) {
	for want, paths := range map[string][]string{"fmt": {"a", "fmt", "z"}, "a": {"a", "z"}} {
		kids := children(listing{Tree: index.Tree{Root: "/src"}, Paths: paths}, 7)
		if len(kids) != len(paths) {
			t.Fatalf("%d children for %d packages", len(kids), len(paths))
		}
		var flaky []string
		for i, kid := range kids {
			if kid.Key != paths[i] || kid.Input.Path != paths[i] || kid.Input.PaceMS != 7 || kid.Input.Tree.Root != "/src" {
				t.Errorf("child %d is %+v", i, kid)
			}
			if kid.Input.Flaky {
				flaky = append(flaky, kid.Key)
			}
		}
		if len(flaky) != 1 || flaky[0] != want {
			t.Errorf("flaky: %v, want %s", flaky, want)
		}
	}
}

// The declarations have no fault that can be seen without a server.
func TestWorkflowsAreSound(t *testing.T) {
	client, err := tenon.NewClient(tenon.WithToken("unused"), tenon.WithAddress("http://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	parse := parsePackage()
	if _, err := client.NewWorker(tenon.WithWorkflows(parse, stdlibIndex(parse, ""))); err != nil {
		t.Error(err)
	}
}

func TestWorkerSaysWhatIsMissing(t *testing.T) {
	t.Setenv("TENON_CLIENT_TOKEN", "")
	err := run(t.Context(), nil, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "TENON_CLIENT_TOKEN") {
		t.Errorf("got %v", err)
	}
}

func TestTraceLine(t *testing.T) {
	text, err := json.Marshal(event{Event: "start", Run: "run_x", Workflow: "w", Task: "t", Attempt: 1})
	if err != nil || string(text) != `{"event":"start","run":"run_x","workflow":"w","task":"t","attempt":1}` {
		t.Errorf("got %s, %v", text, err)
	}
}
