package frontend

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// act is a form with the call that it makes, and where it leads.
type act struct {
	path string
	form url.Values
	want proto.Message
	next string
}

func acts() map[string]act {
	id := failedRun().GetId()
	urgent := int32(9)
	return map[string]act{
		"cancel":         {"/t/acme/runs/" + id + "/cancel", url.Values{"reason": {"no"}}, &runsv1.CancelRunRequest{RunId: id, Reason: "no"}, "/t/acme/runs/" + id},
		"replay all":     {"/t/acme/runs/" + id + "/replay", url.Values{"what": {"all"}}, &runsv1.ReplayRunRequest{RunId: id}, "/t/acme/runs/" + id},
		"replay failed":  {"/t/acme/runs/" + id + "/replay", url.Values{"what": {"unsuccessful"}}, &runsv1.ReplayRunRequest{RunId: id, Tasks: []string{"parse"}}, "/t/acme/runs/" + id},
		"replay some":    {"/t/acme/runs/" + id + "/replay", url.Values{"what": {"some"}, "task": {"a", "b"}}, &runsv1.ReplayRunRequest{RunId: id, Tasks: []string{"a", "b"}}, "/t/acme/runs/" + id},
		"cancel several": {"/t/acme/runs", url.Values{"do": {"cancel"}, "run": {"run_a", "run_b"}, "back": {"/t/acme/runs?status=running"}}, &runsv1.CancelRunsRequest{RunIds: []string{"run_a", "run_b"}}, "/t/acme/runs?status=running"},
		"replay several": {"/t/acme/runs", url.Values{"do": {"replay"}, "run": {"run_a"}, "back": {"https://evil.test"}}, &runsv1.ReplayRunsRequest{RunIds: []string{"run_a"}}, "/"},
		"trigger raw": {
			"/t/acme/trigger",
			url.Values{"workflow": {"greet"}, "input": {`{"n": 1}`}, "priority": {"9"}},
			&runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "greet", InputJson: `{"n": 1}`, Priority: &urgent}}, "/t/acme/runs/run_new",
		},
		"trigger labels": {
			"/t/acme/trigger",
			url.Values{"workflow": {"greet"}, "labels": {" env=prod\r\n\r\nnote=a=b, c \r\n"}},
			&runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "greet", Labels: map[string]string{"env": "prod", "note": "a=b, c"}}}, "/t/acme/runs/run_new",
		},
		"trigger fields": {
			"/t/acme/trigger",
			url.Values{"workflow": {"order"}, "field.id": {"A1"}},
			&runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "order", InputJson: `{"id":"A1"}`}}, "/t/acme/runs/run_new",
		},
		"pause worker":  {"/t/acme/workers/wkr_a", url.Values{"do": {"pause"}}, &workersv1.PauseWorkerRequest{WorkerId: "wkr_a"}, "/t/acme/workers/wkr_a"},
		"resume worker": {"/t/acme/workers/wkr_a", url.Values{"do": {"resume"}}, &workersv1.ResumeWorkerRequest{WorkerId: "wkr_a"}, "/t/acme/workers/wkr_a"},
		"drain worker":  {"/t/acme/workers/wkr_a", url.Values{"do": {"drain"}}, &workersv1.DrainWorkerRequest{WorkerId: "wkr_a"}, "/t/acme/workers/wkr_a"},
		"rename":        {"/t/acme/settings", url.Values{"name": {"Acme & Sons"}}, &identityv1.RenameTenantRequest{DisplayName: "Acme & Sons"}, "/t/acme/settings"},
		"revoke":        {"/t/acme/tokens/tok_a/revoke", url.Values{}, &identityv1.RevokeTokenRequest{TokenId: "tok_a"}, "/t/acme/tokens"},
		"add member":    {"/t/acme/members/new", url.Values{"email": {"bo@example.com"}, "role": {"viewer"}}, &identityv1.AddMemberRequest{Email: "bo@example.com", Role: identityv1.Role_ROLE_VIEWER}, "/t/acme/members"},
		"change role":   {"/t/acme/members/usr_a/role", url.Values{"role": {"admin"}}, &identityv1.ChangeMemberRoleRequest{UserId: "usr_a", Role: identityv1.Role_ROLE_ADMIN}, "/t/acme/members"},
		"remove member": {"/t/acme/members/usr_a/remove", url.Values{}, &identityv1.RemoveMemberRequest{UserId: "usr_a"}, "/t/acme/members"},
		"revoke link":   {"/t/acme/invitations/inv_a/revoke", url.Values{}, &identityv1.RevokeInvitationRequest{InvitationId: "inv_a"}, "/t/acme/members"},
		"join":          {"/join/the-link", url.Values{}, &identityv1.AcceptInvitationRequest{Token: "the-link"}, "/t/beta/"},
		"end session":   {"/account/sessions/ses_other/end", url.Values{}, &identityv1.SignOutSessionRequest{SessionId: "ses_other"}, "/account/sessions"},
		"end others":    {"/account/sessions/others/end", url.Values{}, &identityv1.SignOutOtherSessionsRequest{}, "/account/sessions"},
	}
}

func orders() []*registryv1.Workflow {
	const schema = `{"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}`
	return []*registryv1.Workflow{
		{Name: "greet", Version: &registryv1.WorkflowVersion{Number: 1, Spec: &registryv1.WorkflowSpec{Name: "greet", Tasks: []*registryv1.TaskSpec{{Name: "greet"}}}}},
		{Name: "order", Version: &registryv1.WorkflowVersion{Number: 1, Spec: &registryv1.WorkflowSpec{Name: "order", InputSchemaJson: schema, Tasks: []*registryv1.TaskSpec{{Name: "a"}, {Name: "b", Parents: []string{"a"}}}}}},
	}
}

// Each form makes its one call, and leads on to where its effect is seen.
func TestForms(t *testing.T) {
	for name, a := range acts() {
		t.Run(name, func(t *testing.T) {
			b := setup(t, false)
			b.api.workflows = orders()
			b.signIn()
			a.form.Set("csrf", b.token("/t/acme/runs"))
			wantLocation(t, b.post(a.path, a.form), a.next)
			if diff := cmp.Diff([]proto.Message{a.want}, b.api.made, protocmp.Transform()); diff != "" {
				t.Errorf("the call: %s", diff)
			}
			if page := b.get("/t/acme/tokens"); !strings.Contains(page.Body.String(), `class="toast"`) {
				t.Error("the next page does not say what was done")
			}
			if page := b.get("/t/acme/tokens"); strings.Contains(page.Body.String(), `class="toast"`) {
				t.Error("it is said twice")
			}
		})
	}
}

// A request that no page of this browser has made changes nothing, whatever it asks for.
func TestForgedForms(t *testing.T) {
	b := setup(t, false)
	b.api.workflows = orders()
	b.signIn()
	other := setup(t, false)
	for name, a := range acts() {
		for how, token := range map[string]string{"without a token": "", "with another's": other.token("/sign-in")} {
			a.form.Set("csrf", token)
			if answer := b.post(a.path, a.form); answer.Code != http.StatusForbidden {
				t.Errorf("%s %s: answered %d", name, how, answer.Code)
			}
		}
	}
	if len(b.api.made) > 0 {
		t.Errorf("forged forms made the calls %v", b.api.made)
	}
}

// A viewer is offered nothing that changes something, and the API's refusal of a request made all the same is told with status 403.
func TestViewerCannotAct(t *testing.T) {
	b := setup(t, false)
	b.api.workflows, b.api.role = orders(), identityv1.Role_ROLE_VIEWER
	b.api.refusal = connect.NewError(connect.CodePermissionDenied, errors.New("this needs more than the role viewer"))
	b.signIn()
	b.api.runs = []*runsv1.Run{failedRun()}
	for _, path := range []string{"/t/acme/", "/t/acme/runs", "/t/acme/runs/" + failedRun().GetId(), "/t/acme/workflows", "/t/acme/workflows/greet", "/t/acme/workers/wkr_a", "/t/acme/palette"} {
		page := b.get(path).Body.String()
		for _, offer := range []string{"Trigger", "Replay", "Cancel…", "Drain…", "Pause", `name="run"`, "/tokens", "/members"} {
			if strings.Contains(page, offer) {
				t.Errorf("%s offers %q", path, offer)
			}
		}
	}
	token := b.token("/t/acme/runs")
	for name, a := range acts() {
		if !strings.HasPrefix(a.path, "/t/") {
			continue
		}
		a.form.Set("csrf", token)
		answer := b.post(a.path, a.form)
		if answer.Code != http.StatusForbidden || !strings.Contains(answer.Body.String(), "more than the role viewer") {
			t.Errorf("%s: answered %d: %s", name, answer.Code, answer.Body)
		}
	}
}

func TestNewTokensAreShownOnce(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	form := url.Values{"csrf": {b.token("/t/acme/tokens")}, "name": {"billing"}, "kind": {"api"}, "role": {"developer"}, "scopes": {"run:trigger, run:read"}, "days": {"7"}}
	page := b.post("/t/acme/tokens/new", form)
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, "secret of billing", "shown only now")
	form.Set("kind", "worker")
	wantText(t, b.post("/t/acme/tokens/new", form), "TENON_CLIENT_TOKEN=")
	week := durationpb.New(7 * 24 * 60 * 60 * 1e9)
	want := []proto.Message{
		&identityv1.CreateTokenRequest{
			Name: "billing", Kind: identityv1.TokenKind_TOKEN_KIND_API, Role: identityv1.Role_ROLE_DEVELOPER, Scopes: []string{"run:trigger", "run:read"}, Lifetime: week,
		},
		&identityv1.CreateTokenRequest{Name: "billing", Kind: identityv1.TokenKind_TOKEN_KIND_WORKER, Lifetime: week},
	}
	if diff := cmp.Diff(want, b.api.made, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	b.api.refusal = connect.NewError(connect.CodeInvalidArgument, errors.New("scopes: no such object"))
	refused := b.post("/t/acme/tokens/new", form)
	wantStatus(t, refused, http.StatusBadRequest)
	wantText(t, refused, "scopes: no such object", `value="billing"`)
}

func TestInvitations(t *testing.T) {
	b := setup(t, false)
	stranger := b.get("/join/the-link")
	wantText(t, stranger, "Join Beta &amp; Sons", "/sign-up?next=%2Fjoin%2Fthe-link")
	wantStatus(t, b.get("/join/other"), http.StatusNotFound)
	b.signIn()
	wantText(t, b.get("/join/the-link"), `name="csrf"`)
	wantText(t, b.get("/t/acme/members"), "/t/acme/invitations/inv_a/revoke")
	made := b.post("/t/acme/invitations/new", url.Values{"csrf": {b.token("/t/acme/members")}, "role": {"viewer"}})
	wantStatus(t, made, http.StatusOK)
	wantText(t, made, "http://example.com/join/the-link", "shown only now")
}

func TestListsOfAccess(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.tokens = []*identityv1.Token{
		{Id: "tok_a", Name: "<b>billing</b>", Kind: identityv1.TokenKind_TOKEN_KIND_WORKER, ExpireTime: timestamppb.New(testNow.AddDate(0, 1, 0))},
		{Id: "tok_b", Name: "old", RevokeTime: timestamppb.New(testNow), ExpireTime: timestamppb.New(testNow.AddDate(0, 1, 0))},
	}
	wantText(t, b.get("/t/acme/tokens"), "&lt;b&gt;billing&lt;/b&gt;", "/t/acme/tokens/tok_a/revoke", "Revoked")
	wantText(t, b.get("/t/acme/tokens/tok_a/revoke"), "Revoke “&lt;b&gt;billing&lt;/b&gt;”?")
	wantStatus(t, b.get("/t/acme/tokens/tok_none/revoke"), http.StatusNotFound)
	b.api.members = []*identityv1.Member{{User: &identityv1.User{Id: "usr_a", Email: "bo@example.com", DisplayName: "Bo"}, Role: identityv1.Role_ROLE_ADMIN}}
	wantText(t, b.get("/t/acme/members"), "bo@example.com", `<option value="admin" selected>admin</option>`)
	wantText(t, b.get("/t/acme/members/usr_a/remove"), "Remove Bo?")
	wantText(t, b.get("/account/sessions"), "This one", "curl/8", "/account/sessions/ses_other/end")
}

func TestFirstWorker(t *testing.T) {
	b := setup(t, false)
	b.signIn()
	b.api.tenants = []string{"acme", "beta"}
	form := url.Values{"csrf": {b.token("/t/acme/runs")}}
	b.api.seen = nil
	page := b.post("/t/beta/first-worker", form)
	wantStatus(t, page, http.StatusOK)
	wantText(t, page, "const token = &#34;secret of first worker&#34;", "TENON_API_TOKEN=&#39;secret of first trigger&#39;", "tenon.NewTask(")
	if want := []string{"beta", "beta"}; !slices.Equal(b.api.seen, want) {
		t.Errorf("the tokens are made in %q, want %q", b.api.seen, want)
	}
	b.api.refusal = connect.NewError(connect.CodePermissionDenied, errors.New("this needs token:create"))
	refused := b.post("/t/beta/first-worker", form)
	wantStatus(t, refused, http.StatusForbidden)
	wantText(t, refused, "Ask an owner or an admin")
	wantStatus(t, b.post("/t/foreign/first-worker", form), http.StatusNotFound)
}

func TestFormsInDialogsComeAlone(t *testing.T) {
	b := setup(t, false)
	b.api.workflows = orders()
	b.signIn()
	r := httptest.NewRequest(http.MethodGet, "/t/acme/trigger?workflow=order", nil)
	r.Header.Set(fragmentHeader, "dialog")
	alone := b.do(r)
	wantText(t, alone, `name="field.id"`, `name="csrf"`, `aria-label="Close"`)
	if strings.Contains(alone.Body.String(), "<html") {
		t.Error("the dialog gets a whole page")
	}
	wantText(t, b.get("/t/acme/trigger?workflow=order"), "<html", `name="field.id"`)
	wantStatus(t, b.get("/t/acme/trigger?workflow=none"), http.StatusNotFound)
	wantText(t, b.get("/t/acme/trigger"), "workflow=greet", "workflow=order")
	refused := b.post("/t/acme/trigger", url.Values{"csrf": {b.token("/t/acme/runs")}, "workflow": {"greet"}, "priority": {"high"}, "input": {"{}"}})
	wantStatus(t, refused, http.StatusBadRequest)
	wantText(t, refused, "A priority is a number", ">{}</textarea>")
	none := b.post("/t/acme/runs/"+failedRun().GetId()+"/replay", url.Values{"csrf": {b.token("/t/acme/runs")}, "what": {"some"}})
	wantStatus(t, none, http.StatusBadRequest)
	wantText(t, none, "Choose at least one task")
}
