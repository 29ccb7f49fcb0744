package frontend

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	"github.com/tenon-run/tenon/proto/tenon/identity/v1/identityv1connect"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
)

const (
	goodToken    = "session-one"
	goodEmail    = "ada@example.com"
	goodPassword = "a long enough password"
)

var testNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// fakeAPI answers like the services do, for one user.
type fakeAPI struct {
	identityv1connect.UnimplementedIdentityServiceHandler
	runsv1connect.UnimplementedRunServiceHandler
	registryv1connect.UnimplementedRegistryServiceHandler
	workersv1connect.UnimplementedWorkerAdminServiceHandler

	mu      sync.Mutex
	tenants []string
	runs    []*runsv1.Run
	next    string
	listErr error
	revoked bool
	// described counts WhoAmI.
	described int
	listed    []*runsv1.ListRunsRequest
	role      identityv1.Role
	tokens    []*identityv1.Token
	members   []*identityv1.Member
	workflows []*registryv1.Workflow
	// made are the requests of calls that change something, in order.
	made []proto.Message
	// refusal is what such a call is answered with.
	refusal error
	// changes are what WatchRuns and WatchRun send after their first message.
	changes chan *runsv1.Run
	// idle says that no worker is there.
	idle bool
	// workerChanges are what WatchWorkers sends after its first message.
	workerChanges chan *workersv1.Worker
	seen          []string // Tenon-Tenant of each call on runs
	forwards      []string // X-Forwarded-For of each SignIn
	browsers      []string // User-Agent of each SignIn
}

func (f *fakeAPI) signedIn(ctx context.Context) error {
	info, _ := connect.CallInfoForHandlerContext(ctx)
	if f.revoked || info.RequestHeader().Get("Authorization") != "Bearer "+goodToken {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the session has ended; sign in again"))
	}
	return nil
}

func (f *fakeAPI) SignIn(ctx context.Context, req *identityv1.SignInRequest) (*identityv1.SignInResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, _ := connect.CallInfoForHandlerContext(ctx)
	f.forwards = append(f.forwards, info.RequestHeader().Get("X-Forwarded-For"))
	f.browsers = append(f.browsers, info.RequestHeader().Get("User-Agent"))
	if req.GetEmail() != goodEmail || req.GetPassword() != goodPassword {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("the address or the password is wrong"))
	}
	return &identityv1.SignInResponse{SessionToken: goodToken, ExpireTime: timestamppb.New(testNow.Add(12 * time.Hour))}, nil
}

func (f *fakeAPI) SignUp(_ context.Context, req *identityv1.SignUpRequest) (*identityv1.SignUpResponse, error) {
	if req.GetEmail() == goodEmail {
		return nil, connect.NewError(connect.CodeAlreadyExists, errors.New("taken"))
	}
	return &identityv1.SignUpResponse{SessionToken: goodToken, ExpireTime: timestamppb.New(testNow.Add(12 * time.Hour))}, nil
}

func (f *fakeAPI) SignOut(ctx context.Context, _ *identityv1.SignOutRequest) (*identityv1.SignOutResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.signedIn(ctx); err != nil {
		return nil, err
	}
	f.revoked = true
	return &identityv1.SignOutResponse{}, nil
}

func (f *fakeAPI) CreateTenant(ctx context.Context, req *identityv1.CreateTenantRequest) (*identityv1.CreateTenantResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.signedIn(ctx); err != nil {
		return nil, err
	}
	if len(req.GetSlug()) < 3 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("slug: does not match the pattern"))
	}
	f.tenants = append(f.tenants, req.GetSlug())
	return &identityv1.CreateTenantResponse{Tenant: &identityv1.Tenant{Slug: req.GetSlug()}}, nil
}

func (f *fakeAPI) ListTenants(ctx context.Context, _ *identityv1.ListTenantsRequest) (*identityv1.ListTenantsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.signedIn(ctx); err != nil {
		return nil, err
	}
	out := &identityv1.ListTenantsResponse{}
	for _, slug := range f.tenants {
		out.Memberships = append(out.Memberships, &identityv1.Membership{Tenant: &identityv1.Tenant{Slug: slug, DisplayName: "Tenant " + slug}, Role: f.role})
	}
	return out, nil
}

func (f *fakeAPI) WhoAmI(ctx context.Context, _ *identityv1.WhoAmIRequest) (*identityv1.WhoAmIResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.signedIn(ctx); err != nil {
		return nil, err
	}
	f.described++
	return &identityv1.WhoAmIResponse{User: &identityv1.User{Email: goodEmail}}, nil
}

func (f *fakeAPI) ListRuns(ctx context.Context, req *runsv1.ListRunsRequest) (*runsv1.ListRunsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.signedIn(ctx); err != nil {
		return nil, err
	}
	info, _ := connect.CallInfoForHandlerContext(ctx)
	f.seen = append(f.seen, info.RequestHeader().Get("Tenon-Tenant"))
	f.listed = append(f.listed, req)
	return &runsv1.ListRunsResponse{Runs: f.runs, NextPageToken: f.next}, f.listErr
}

func (f *fakeAPI) GetRun(ctx context.Context, req *runsv1.GetRunRequest) (*runsv1.GetRunResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.signedIn(ctx); err != nil {
		return nil, err
	}
	info, _ := connect.CallInfoForHandlerContext(ctx)
	f.seen = append(f.seen, info.RequestHeader().Get("Tenon-Tenant"))
	if req.GetRunId() != failedRun().GetId() {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no run "+req.GetRunId()))
	}
	return &runsv1.GetRunResponse{Run: failedRun()}, nil
}

// change keeps a request that changes something, and says whether it is allowed.
func (f *fakeAPI) change(ctx context.Context, req proto.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.signedIn(ctx); err != nil {
		return err
	}
	info, _ := connect.CallInfoForHandlerContext(ctx)
	f.seen = append(f.seen, info.RequestHeader().Get("Tenon-Tenant"))
	f.made = append(f.made, req)
	return f.refusal
}

func failedRun() *runsv1.Run {
	start := testNow.Add(-time.Minute)
	return &runsv1.Run{
		Generation: 1, InputJson: `{"x":"<script>alert(4)</script>"}`, Revision: 7,
		Id: "run_01jdx5zv2nf8vr2m0k6zq0v3vw", Workflow: "index", WorkflowVersion: 2, Status: runsv1.RunStatus_RUN_STATUS_FAILED, ChildRuns: 3,
		CreateTime: timestamppb.New(start), StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.Add(2400 * time.Millisecond)),
		Tasks: []*runsv1.Task{{
			Name: "parse", Queue: "index", StartTime: timestamppb.New(start), EndTime: timestamppb.New(start.Add(2400 * time.Millisecond)), Status: runsv1.TaskStatus_TASK_STATUS_FAILED, Attempt: 3, LostAttempts: 1,
			Error: &runsv1.TaskError{Kind: "error", Message: "bad <script>alert(1)</script>", Stack: "at parse\n<img src=x onerror=alert(2)>"},
		}},
	}
}

// inMemory carries calls to a handler without a network.
type inMemory struct{ handler http.Handler }

func (m inMemory) Do(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	m.handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

// broken is an API that nobody answers for.
type broken struct{}

func (broken) Do(*http.Request) (*http.Response, error) {
	return nil, errors.New("dial tcp 10.1.2.3:5432: connection refused")
}

// browser keeps cookies and follows forms as a browser would; redirects are left to the test.
type browser struct {
	t       *testing.T
	site    http.Handler
	cookies map[string]*http.Cookie
}

type bundle struct {
	*browser
	api        *fakeAPI
	apiHandler http.Handler
}

func setup(t *testing.T, secure bool) bundle {
	t.Helper()
	api := &fakeAPI{tenants: []string{"acme"}, role: identityv1.Role_ROLE_OWNER, changes: make(chan *runsv1.Run), workerChanges: make(chan *workersv1.Worker)}
	mux := http.NewServeMux()
	mux.Handle(identityv1connect.NewIdentityServiceHandler(api))
	mux.Handle(runsv1connect.NewRunServiceHandler(api))
	mux.Handle(registryv1connect.NewRegistryServiceHandler(api))
	mux.Handle(workersv1connect.NewWorkerAdminServiceHandler(api))
	return bundle{newBrowser(t, inMemory{mux}, secure), api, mux}
}

func newBrowser(t *testing.T, api connect.HTTPClient, secure bool) *browser {
	t.Helper()
	handler, err := newSite(Config{API: api, BaseURL: "http://api.test", Secure: secure, Log: slog.New(slog.DiscardHandler)}, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, site: handler, cookies: map[string]*http.Cookie{}}
}

func (b *browser) do(r *http.Request) *httptest.ResponseRecorder {
	b.t.Helper()
	for _, cookie := range b.cookies {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	r.Header.Set("User-Agent", "a browser")
	recorder := httptest.NewRecorder()
	b.site.ServeHTTP(recorder, r)
	for _, cookie := range recorder.Result().Cookies() {
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
		} else {
			b.cookies[cookie.Name] = cookie
		}
	}
	return recorder
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(httptest.NewRequest(http.MethodGet, path, nil))
}

func (b *browser) post(path string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

var csrfInput = regexp.MustCompile(`name="csrf" value="([0-9a-f]{64})"`)

// token reads the form token of a page.
func (b *browser) token(path string) string {
	b.t.Helper()
	found := csrfInput.FindStringSubmatch(b.get(path).Body.String())
	if found == nil {
		b.t.Fatalf("%s has no form token", path)
	}
	return found[1]
}

func (b *browser) signIn() {
	b.t.Helper()
	answer := b.post("/sign-in", url.Values{"csrf": {b.token("/sign-in")}, "email": {goodEmail}, "password": {goodPassword}})
	if answer.Code != http.StatusSeeOther {
		b.t.Fatalf("sign-in answered %d: %s", answer.Code, answer.Body)
	}
}
