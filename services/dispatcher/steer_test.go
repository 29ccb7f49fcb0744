package dispatcher

import (
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// A pause reaches the owner at once, and every owner after it: by the next session, in this process or another.
func TestAPauseLastsAsLongAsTheWorker(t *testing.T) {
	h := setup(t)
	worker := h.register(2)
	h.listen(worker, 1)
	if h.owner.hearOpen().GetPaused() {
		t.Error("a worker begins paused")
	}
	must(t, h.Pause(t.Context(), h.caller, worker, true))
	told := h.owner.hear("PauseWorker", func(r *busv1.ShardRequest) bool { return r.GetPauseWorker() != nil }).GetPauseWorker()
	if !told.GetPaused() || string(told.GetWorkerId()) != string(workerID(t, worker)) {
		t.Errorf("the owner was told %v", told)
	}
	h.listen(worker, 2)
	if !h.owner.hearOpen().GetPaused() {
		t.Error("the next session is not paused")
	}
	h.start()
	h.listen(worker, 3)
	if !h.owner.hearOpen().GetPaused() {
		t.Error("a session at another process is not paused")
	}
	must(t, h.Pause(t.Context(), h.caller, worker, false))
	h.listen(worker, 4)
	if h.owner.hearOpen().GetPaused() {
		t.Error("a resumed worker is paused")
	}
}

func TestADrainedWorkerIsToldToEnd(t *testing.T) {
	h := setup(t)
	worker := h.register(2)
	l := h.listen(worker, 1)
	must(t, h.Drain(t.Context(), h.caller, worker))
	if m := l.next(); !m.GetStop() {
		t.Errorf("the worker was told %v, want stop", m)
	}
	drained := h.owner.hear("DrainWorker", func(r *busv1.ShardRequest) bool { return r.GetDrainWorker() != nil }).GetDrainWorker()
	if drained.GetSession() != 1 {
		t.Errorf("the owner was told %v", drained)
	}
	wantFault(t, h.Pause(t.Context(), h.caller, worker, false), fault.CodeFailedPrecondition, ReasonWorkerDraining)
	// One that listens again has not heard it, or does not obey.
	l = h.listen(worker, 2)
	if m := l.next(); !m.GetStop() {
		t.Errorf("a worker that comes back was told %v, want stop", m)
	}
	h.owner.hear("OpenSession", func(r *busv1.ShardRequest) bool {
		return r.GetOpenSession().GetSession() == 2 && r.GetOpenSession().GetDraining()
	})
}

func TestSteeringDenied(t *testing.T) {
	h := setup(t)
	worker := h.register(1)
	foreign := Caller{TenantID: h.tenant("other"), TokenID: newID(time.Now())}
	wantFault(t, h.Pause(t.Context(), foreign, worker, true), fault.CodeNotFound, "")
	wantFault(t, h.Drain(t.Context(), foreign, worker), fault.CodeNotFound, "")
	wantFault(t, h.Pause(t.Context(), h.caller, "wkr_nonsense", true), fault.CodeInvalid, "")
	if _, err := h.GetWorker(t.Context(), foreign, worker); !fault.Is(err, fault.CodeNotFound) {
		t.Errorf("another tenant reads the worker: %v", err)
	}
	list, err := h.ListWorkers(t.Context(), foreign, WorkerPage{PageSize: 10})
	if err != nil || len(list.Workers) != 0 {
		t.Errorf("another tenant lists %v, %v", list, err)
	}
}

// Attached workers come first, and every worker comes once, whatever the size of the page.
func TestWorkersAreListedOnce(t *testing.T) {
	h := setup(t)
	var all []string
	h.workflow("flow", 1, "task")
	for range 5 {
		made, err := h.Register(t.Context(), h.caller, &workersv1.RegisterRequest{Name: "w", Actions: []string{"flow/task"}, Slots: 1})
		must(t, err)
		all = append(all, made.GetWorkerId())
		h.clock.advance(time.Millisecond)
	}
	attached := map[string]bool{all[1]: true, all[3]: true}
	h.owner.script(func(r *busv1.ShardRequest) *busv1.ShardReply {
		if r.GetSurvey() == nil {
			return nil
		}
		out := &busv1.SurveyTenantReply{}
		for id := range attached {
			out.Workers = append(out.Workers, &busv1.SurveyedWorker{WorkerId: workerID(t, id), Slots: 3, SlotsUsed: 1})
		}
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Survey{Survey: out}}
	})
	want := []string{all[3], all[1], all[4], all[2], all[0]}
	for size := 1; size <= 6; size++ {
		var got []string
		page := WorkerPage{PageSize: size}
		for range 10 {
			list, err := h.ListWorkers(t.Context(), h.caller, page)
			must(t, err)
			if list.Attached != 2 || list.Slots != 6 || list.SlotsTaken != 2 {
				t.Errorf("totals: %+v", list)
			}
			for _, w := range list.Workers {
				id := (&worker{id: w.Row.ID}).publicID()
				got = append(got, id)
				if (w.Live != nil) != attached[id] {
					t.Errorf("worker %s is shown attached: %t", id, w.Live != nil)
				}
			}
			if list.Next == nil {
				break
			}
			page = *list.Next
			page.PageSize = size
		}
		if len(got) != len(want) {
			t.Fatalf("pages of %d: %v, want %v", size, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("pages of %d: %v, want %v", size, got, want)
				break
			}
		}
	}
}
