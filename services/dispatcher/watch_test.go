package dispatcher

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/fault"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// crowd is what the scripted owner says of the attached workers.
type crowd struct {
	mu      sync.Mutex
	workers []*busv1.SurveyedWorker
}

func (c *crowd) set(workers ...*busv1.SurveyedWorker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers = workers
}

func (c *crowd) answer(r *busv1.ShardRequest) *busv1.ShardReply {
	if r.GetSurvey() == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &busv1.SurveyTenantReply{}
	for _, w := range c.workers {
		if only := r.GetSurvey().GetWorkerId(); len(only) == 0 || string(only) == string(w.GetWorkerId()) {
			out.Workers = append(out.Workers, proto.CloneOf(w))
		}
	}
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Survey{Survey: out}}
}

// watchWorkers collects a stream's messages until the test's end.
func (h *house) watchWorkers(worker string) <-chan WorkerChanges {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	messages, done := make(chan WorkerChanges, 1000), make(chan struct{})
	svc := h.Service
	go func() {
		defer close(done)
		_ = svc.WatchWorkers(ctx, h.caller, worker, func(said WorkerChanges) error {
			messages <- said
			return nil
		})
	}()
	h.t.Cleanup(func() {
		cancel()
		<-done
	})
	return messages
}

// notice tells that workers have changed, as their owner does.
func (h *house) notice() {
	h.t.Helper()
	data, err := proto.Marshal(&busv1.RunNotices{TenantId: h.caller.TenantID, Workers: true})
	must(h.t, err)
	must(h.t, h.bus.Publish(SubjectNotices+strconv.FormatInt(h.caller.TenantID, 10), data))
}

// A reader is told which workers have changed, once for each change, and of one that goes away; it is told nothing of others.
func TestChangesOfWorkersReachTheirReaders(t *testing.T) {
	h := setup(t, func(c *Config) { c.Beat = time.Hour })
	first := h.register(2)
	made, err := h.Register(t.Context(), h.caller, &workersv1.RegisterRequest{Name: "second", Actions: []string{"flow/task"}, Slots: 2})
	must(t, err)
	second := made.GetWorkerId()
	var there crowd
	h.owner.script(there.answer)
	there.set(&busv1.SurveyedWorker{WorkerId: workerID(t, first), Slots: 2})
	all, one := h.watchWorkers(""), h.watchWorkers(second)
	for name, messages := range map[string]<-chan WorkerChanges{"all": all, "one": one} {
		if said := receive(t, messages, "the first message"); !said.Reset || len(said.Workers) != 0 {
			t.Errorf("%s: the first message is %+v, want reset", name, said)
		}
	}
	there.set(&busv1.SurveyedWorker{WorkerId: workerID(t, first), Slots: 2, SlotsUsed: 1}, &busv1.SurveyedWorker{WorkerId: workerID(t, second), Slots: 2, Paused: true})
	h.notice()
	said := receive(t, all, "the change")
	if len(said.Workers) != 2 || said.Reset || said.Attached != 2 || said.Slots != 4 || said.SlotsTaken != 1 {
		t.Errorf("after a change of both the message is %+v", said)
	}
	if said := receive(t, one, "the change of one"); len(said.Workers) != 1 || !said.Workers[0].Live.GetPaused() {
		t.Errorf("the reader of one worker is told %+v", said)
	}
	there.set(&busv1.SurveyedWorker{WorkerId: workerID(t, first), Slots: 2, SlotsUsed: 1})
	h.notice()
	said = receive(t, all, "the end of one")
	if len(said.Workers) != 1 || said.Workers[0].Live != nil || string(said.Workers[0].Row.ID[:]) != string(workerID(t, second)) {
		t.Errorf("after one has gone the message is %+v", said)
	}
	h.notice() // and nothing has changed
	if said := receive(t, all, "the answer to a hint without a change"); said.Reset || len(said.Workers) != 0 {
		t.Errorf("without a change the message is %+v", said)
	}
}

// A hint that is lost is found with the next beat.
func TestALostHintOfWorkersIsFound(t *testing.T) {
	h := setup(t, func(c *Config) { c.Beat = 20 * time.Millisecond })
	worker := h.register(2)
	var there crowd
	h.owner.script(there.answer)
	messages := h.watchWorkers("")
	receive(t, messages, "the first message")
	there.set(&busv1.SurveyedWorker{WorkerId: workerID(t, worker), Slots: 2})
	for {
		if said := receive(t, messages, "the change"); len(said.Workers) == 1 {
			return
		}
	}
}

func TestWatchingWorkersDenied(t *testing.T) {
	h := setup(t)
	worker := h.register(1)
	foreign := Caller{TenantID: h.tenant("other"), TokenID: newID(time.Now())}
	never := func(WorkerChanges) error { t.Error("something was sent"); return nil }
	wantFault(t, h.WatchWorkers(t.Context(), foreign, worker, never), fault.CodeNotFound, "")
	wantFault(t, h.WatchWorkers(t.Context(), h.caller, "wkr_nonsense", never), fault.CodeInvalid, "")
}
