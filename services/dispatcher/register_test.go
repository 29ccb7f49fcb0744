package dispatcher

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

func TestRegisterRecordsTheWorker(t *testing.T) {
	h := setup(t)
	h.workflow("flow", 1, "old", "task")
	h.workflow("flow", 2, "task")
	response, err := h.Register(t.Context(), h.caller, &workersv1.RegisterRequest{
		Actions: []string{"flow/task", "flow/old", "flow/task"}, Slots: 3, Runtime: &workersv1.Runtime{Host: "box", Language: "go"},
	})
	must(t, err)
	var name string
	var actions []string
	must(t, h.pool.QueryRow(t.Context(), "select name, actions from workers where tenant_id = $1 and id = $2", h.caller.TenantID, workerID(t, response.GetWorkerId())).Scan(&name, &actions))
	if name != "box" || len(actions) != 2 {
		t.Errorf("stored name %q and actions %v, want the host's name and two actions (one of an older version)", name, actions)
	}
	if response.GetGrace().AsDuration() != 10*time.Second || response.GetHeartbeatInterval().AsDuration() != 2500*time.Millisecond || response.GetPayloadLimit() != payloadLimit {
		t.Errorf("the answer is %v", response)
	}
}

func TestRegisterNamesUnknownActions(t *testing.T) {
	h := setup(t)
	h.workflow("flow", 1, "task")
	_, err := h.Register(t.Context(), h.caller, &workersv1.RegisterRequest{Actions: []string{"flow/task", "flow/other", "nowhere/task"}, Slots: 1})
	wantFault(t, err, fault.CodeInvalid, ReasonUnknownAction)
	fields := fault.Of(err).Fields
	if len(fields) != 2 || fields[0].Path != "actions[1]" || fields[1].Path != "actions[2]" {
		t.Errorf("fields are %v, want actions[1] and actions[2]", fields)
	}
	foreign := Caller{TenantID: h.tenant("other"), TokenID: h.caller.TokenID}
	_, err = h.Register(t.Context(), foreign, &workersv1.RegisterRequest{Actions: []string{"flow/task"}, Slots: 1})
	wantFault(t, err, fault.CodeInvalid, ReasonUnknownAction)
}

func TestRegisterRefusesNUL(t *testing.T) {
	h := setup(t)
	h.workflow("flow", 1, "task")
	_, err := h.Register(t.Context(), h.caller, &workersv1.RegisterRequest{Name: "a\x00b", Actions: []string{"flow/task"}, Slots: 1})
	wantFault(t, err, fault.CodeInvalid, "")
	if fields := fault.Of(err).Fields; len(fields) != 1 || fields[0].Path != "name" {
		t.Errorf("fields are %v, want name", fields)
	}
}

// A worker of another tenant does not exist, whatever is asked of it.
func TestForeignTenantIsDenied(t *testing.T) {
	h := setup(t)
	worker := h.register(1)
	foreign := Caller{TenantID: h.tenant("other"), TokenID: h.caller.TokenID}
	ctx := t.Context()
	calls := map[string]func() error{
		"Listen": func() error {
			return h.Listen(ctx, foreign, &workersv1.ListenRequest{WorkerId: worker, Session: 1}, func(*workersv1.ListenResponse) error { return nil })
		},
		"Report": func() error {
			_, err := h.Report(ctx, foreign, &workersv1.ReportRequest{WorkerId: worker, Session: 1, Reports: []*workersv1.Report{completed(ordered(), "1")}})
			return err
		},
		"Heartbeat": func() error {
			_, err := h.Heartbeat(ctx, foreign, &workersv1.HeartbeatRequest{WorkerId: worker, Session: 1})
			return err
		},
		"Log": func() error {
			_, err := h.Log(ctx, foreign, &workersv1.LogRequest{WorkerId: worker, Entries: []*workersv1.LogEntry{line(ordered(), 1, "x")}})
			return err
		},
	}
	for name, call := range calls {
		if err := call(); !fault.Is(err, fault.CodeNotFound) {
			t.Errorf("%s answers %v, want NotFound", name, err)
		}
	}
}
