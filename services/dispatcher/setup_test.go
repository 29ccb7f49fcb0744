package dispatcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/lease"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/testkit"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	patience     = 15 * time.Second
	payloadLimit = 256 << 10
)

// houses counts them: they share a database, and each has a tenant and a shard of its own.
var houses atomic.Int64

// house is a dispatcher on a real bus and a real database, with a scripted owner of the tenant's shard.
type house struct {
	*Service
	t      *testing.T
	pool   *pgxpool.Pool
	bus    *bus.NATS
	shard  int32
	clock  *clock
	owner  *owner
	caller Caller
	stop   func()
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// setup starts a dispatcher whose background probes are out of the way unless change brings them back.
func setup(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	t.Parallel()
	const shards = 64
	h := &house{
		t: t, pool: testkit.SharedDatabase(t), bus: testkit.Bus(t), shard: int32(houses.Add(1) % shards), clock: &clock{now: time.Now()},
	}
	h.caller = Caller{TenantID: h.tenant("acme"), TokenID: newID(time.Now())}
	h.owner = &owner{t: t, bus: h.bus, pool: h.pool, shard: h.shard, heard: make(chan *busv1.ShardRequest, 1000)}
	h.owner.takeOver(1)
	t.Cleanup(h.owner.stop)
	h.start(change...)
	return h
}

// start begins a process of the dispatcher; calling it again is a restart beside the old one.
func (h *house) start(change ...func(*Config)) {
	h.t.Helper()
	cfg := Config{
		Pool: h.pool, Bus: h.bus, Log: testkit.Logger(h.t), Instance: "d" + newID(time.Now()).String(), PayloadLimit: payloadLimit,
		Owners:        &lease.Caller{Bus: h.bus, Directory: lease.NewDirectory(h.pool)},
		ProbeInterval: time.Hour, Grace: 10 * time.Second, Now: h.clock.Now,
	}
	for _, f := range change {
		f(&cfg)
	}
	made, err := New(cfg)
	must(h.t, err)
	h.Service = made
	running := loop.Start(context.Background(), "dispatcher", made.Run)
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := running.Stop(ctx); err != nil {
			h.t.Errorf("stop: %v", err)
		}
	}
	h.stop = stop
	h.t.Cleanup(stop)
	<-made.ready
}

func (h *house) tenant(slug string) int64 {
	h.t.Helper()
	slug = fmt.Sprintf("%s-%d-%s", slug, h.shard, strings.ToLower(rand.Text()))
	var number int64
	must(h.t, h.pool.QueryRow(h.t.Context(), "insert into tenants (public_id, slug, display_name) values ($1, $2, $2) returning id", newID(time.Now()), slug).Scan(&number))
	_, err := h.pool.Exec(h.t.Context(), "insert into tenant_shards (tenant_id, shard) values ($1, $2)", number, h.shard)
	must(h.t, err)
	return number
}

// workflow declares a version with these tasks.
func (h *house) workflow(name string, version int, tasks ...string) {
	h.t.Helper()
	spec := &registryv1.WorkflowSpec{Name: name}
	for _, task := range tasks {
		spec.Tasks = append(spec.Tasks, &registryv1.TaskSpec{Name: task})
	}
	raw, err := proto.Marshal(spec)
	must(h.t, err)
	_, err = h.pool.Exec(h.t.Context(), `with w as (
		insert into workflows (tenant_id, public_id, name, newest_version) values ($1, $2, $3, $4)
		on conflict (tenant_id, name) do update set newest_version = excluded.newest_version returning id)
		insert into workflow_versions (tenant_id, workflow_id, version, digest, spec) select $1, id, $4, '', $5 from w`,
		h.caller.TenantID, newID(time.Now()), name, version, raw)
	must(h.t, err)
}

// register makes a worker of the house's tenant.
func (h *house) register(slots int32) string {
	h.t.Helper()
	h.workflow("flow", 1, "task")
	response, err := h.Register(h.t.Context(), h.caller, &workersv1.RegisterRequest{Name: "w", Actions: []string{"flow/task"}, Slots: slots})
	must(h.t, err)
	return response.GetWorkerId()
}

// listener is a worker's end of a stream.
type listener struct {
	h      *house
	worker string
	number int64
	frames chan *workersv1.ListenResponse
	ended  chan error
	hangUp context.CancelFunc
}

// listen opens a session and waits until it is open.
func (h *house) listen(worker string, number int64, held ...*workersv1.Held) *listener {
	h.t.Helper()
	l := h.dial(worker, number, held...)
	if first := l.next(); !first.GetOpened() {
		h.t.Fatalf("the first message is %v, want opened", first)
	}
	return l
}

func (h *house) dial(worker string, number int64, held ...*workersv1.Held) *listener {
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{h: h, worker: worker, number: number, frames: make(chan *workersv1.ListenResponse, 1000), ended: make(chan error, 1), hangUp: cancel}
	svc := h.Service
	go func() {
		l.ended <- svc.Listen(ctx, h.caller, &workersv1.ListenRequest{WorkerId: worker, Session: number, Held: held}, func(m *workersv1.ListenResponse) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			l.frames <- m
			return nil
		})
	}()
	h.t.Cleanup(cancel)
	return l
}

func (l *listener) next() *workersv1.ListenResponse {
	l.h.t.Helper()
	select {
	case m := <-l.frames:
		return m
	case err := <-l.ended:
		select {
		case m := <-l.frames: // Sent before the end, which must still be seen.
			l.ended <- err
			return m
		default:
			l.h.t.Fatalf("the stream ended: %v", err)
		}
	case <-time.After(patience):
		l.h.t.Fatal("the stream is silent")
	}
	return nil
}

func (l *listener) end() error {
	l.h.t.Helper()
	return receive(l.h.t, l.ended, "the end of the stream")
}

func (l *listener) report(reports ...*workersv1.Report) []*workersv1.ReportAnswer {
	l.h.t.Helper()
	response, err := l.h.Report(l.h.t.Context(), l.h.caller, &workersv1.ReportRequest{WorkerId: l.worker, Session: l.number, Reports: reports})
	must(l.h.t, err)
	return response.GetAnswers()
}

// owner plays the owner of the test's shard under one epoch after another, and keeps what it hears.
type owner struct {
	t     *testing.T
	bus   bus.Bus
	pool  *pgxpool.Pool
	shard int32
	heard chan *busv1.ShardRequest

	mu     sync.Mutex
	epoch  int64
	subs   []bus.Subscription
	answer func(*busv1.ShardRequest) *busv1.ShardReply // nil result: the usual answer
}

// takeOver moves the lease to a new epoch. The old one no longer answers.
func (o *owner) takeOver(epoch int64) {
	o.t.Helper()
	o.stop()
	_, err := o.pool.Exec(o.t.Context(), "update shards set epoch = $1 where id = $2", epoch, o.shard)
	must(o.t, err)
	sub, err := o.bus.Serve(lease.Subject(o.shard, epoch), func(_ context.Context, data []byte) ([]byte, error) { return o.serve(epoch, data) })
	must(o.t, err)
	o.mu.Lock()
	o.epoch, o.subs = epoch, append(o.subs, sub)
	o.mu.Unlock()
}

func (o *owner) stop() {
	o.mu.Lock()
	subs := o.subs
	o.subs = nil
	o.mu.Unlock()
	for _, sub := range subs {
		sub.Stop()
	}
}

func (o *owner) script(answer func(*busv1.ShardRequest) *busv1.ShardReply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

func (o *owner) serve(epoch int64, data []byte) ([]byte, error) {
	request := new(busv1.ShardRequest)
	if err := proto.Unmarshal(data, request); err != nil {
		return nil, err
	}
	o.mu.Lock()
	script := o.answer
	o.mu.Unlock()
	var reply *busv1.ShardReply
	if script != nil {
		reply = script(request)
	}
	if reply == nil {
		reply = usual(o.shard, epoch, request)
	}
	select {
	case o.heard <- request:
	default:
		return nil, errors.New("the test's owner has heard too much")
	}
	return proto.Marshal(reply)
}

func usual(shard int32, epoch int64, request *busv1.ShardRequest) *busv1.ShardReply {
	switch {
	case request.GetOpenSession() != nil:
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Session{Session: &busv1.OpenSessionReply{Shard: shard, Epoch: epoch}}}
	case request.GetReports() != nil:
		reply := &busv1.ReportsReply{}
		for range request.GetReports().GetItems() {
			reply.Verdicts = append(reply.Verdicts, int32(workersv1.ReportVerdict_REPORT_VERDICT_ACCEPTED))
		}
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Reports{Reports: reply}}
	case request.GetPeek() != nil:
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Peek{Peek: &busv1.PeekRunsReply{}}}
	default:
		return &busv1.ShardReply{Kind: &busv1.ShardReply_Empty{Empty: &busv1.EmptyReply{}}}
	}
}

// hear waits for the next request that is wanted, passing over others.
func (o *owner) hear(what string, wanted func(*busv1.ShardRequest) bool) *busv1.ShardRequest {
	o.t.Helper()
	for {
		request := receive(o.t, o.heard, what)
		if wanted(request) {
			return request
		}
	}
}

func (o *owner) hearOpen() *busv1.OpenSession {
	o.t.Helper()
	return o.hear("OpenSession", func(r *busv1.ShardRequest) bool { return r.GetOpenSession() != nil }).GetOpenSession()
}

func (o *owner) hearLose() *busv1.LoseSession {
	o.t.Helper()
	return o.hear("LoseSession", func(r *busv1.ShardRequest) bool { return r.GetLoseSession() != nil }).GetLoseSession()
}

func (o *owner) hearReports() *busv1.Reports {
	o.t.Helper()
	return o.hear("Reports", func(r *busv1.ShardRequest) bool { return r.GetReports() != nil }).GetReports()
}

// order sends an order under an epoch.
func (h *house) order(l *listener, epoch int64, order *busv1.SessionOrder) {
	h.t.Helper()
	order.TenantId, order.WorkerId = h.caller.TenantID, workerID(h.t, l.worker)
	if order.GetSession() == 0 {
		order.Session = l.number
	}
	if order.GetOpening() == 0 {
		order.Opening = h.openings(workerID(h.t, l.worker))
	}
	data, err := proto.Marshal(&busv1.DispatcherOrder{Shard: h.shard, Epoch: epoch, Sessions: []*busv1.SessionOrder{order}})
	must(h.t, err)
	must(h.t, h.bus.Publish(OrderSubject(h.cfg.Instance), data))
}

// openings is how many lists of a worker's assignments have been sent to owners in its present session.
func (h *house) openings(raw []byte) int64 {
	w := h.find(h.caller.TenantID, id(raw))
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.session == nil {
		return 0
	}
	return w.session.openings
}

// ordered makes an assignment of a fresh run.
func ordered() *busv1.OrderedAssignment {
	assignmentID, run := newID(time.Now()), newID(time.Now())
	return &busv1.OrderedAssignment{
		AssignmentId: assignmentID[:], RunId: run[:], TaskNo: 1, Generation: 1, Attempt: 1, WorkflowVersion: 1, Workflow: "flow", Task: "task",
		Class: int32(flow.Standard), Input: &busv1.Payload{Json: []byte(`{"n":1}`)}, ExecutionTimeout: time.Minute.Microseconds(),
	}
}

// assign sends one assignment and waits until the worker has it.
func (h *house) assign(l *listener, o *busv1.OrderedAssignment) *workersv1.Assignment {
	h.t.Helper()
	h.order(l, h.owner.epoch, &busv1.SessionOrder{Assignments: []*busv1.OrderedAssignment{o}})
	message := l.next()
	for proto.Size(message) == 0 { // a beat, on a slow machine
		message = l.next()
	}
	got := message.GetAssignments()
	if len(got) != 1 || id(got[0].GetAssignmentId()) != id(o.GetAssignmentId()) {
		h.t.Fatalf("the worker got %v, want the one assignment", got)
	}
	return got[0]
}

// about begins a report on an ordered assignment.
func about(o *busv1.OrderedAssignment) *workersv1.Report {
	return &workersv1.Report{
		AssignmentId: o.GetAssignmentId(), RunId: typeid.Format(typeid.Run, id(o.GetRunId())), TaskNo: o.GetTaskNo(), Generation: o.GetGeneration(), Attempt: o.GetAttempt(),
	}
}

func completed(o *busv1.OrderedAssignment, output string) *workersv1.Report {
	r := about(o)
	r.News = &workersv1.Report_Completed{Completed: &workersv1.Completed{OutputJson: output}}
	return r
}

func started(o *busv1.OrderedAssignment) *workersv1.Report {
	r := about(o)
	r.News = &workersv1.Report_Started{Started: &workersv1.Started{}}
	return r
}

func held(o *busv1.OrderedAssignment) *workersv1.Held {
	return &workersv1.Held{AssignmentId: o.GetAssignmentId(), RunId: typeid.Format(typeid.Run, id(o.GetRunId())), TaskNo: o.GetTaskNo(), Generation: o.GetGeneration(), Attempt: o.GetAttempt()}
}

func workerID(t *testing.T, public string) []byte {
	t.Helper()
	raw, err := typeid.Parse(typeid.Worker, public)
	must(t, err)
	return raw[:]
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %s", what, patience)
		panic("unreachable")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", fault.Detail(err))
	}
}

func wantFault(t *testing.T, err error, code fault.Code, reason string) {
	t.Helper()
	if got := fault.Of(err); got == nil || got.Code != code || reason != "" && got.Reason != reason {
		t.Fatalf("error is %v, want %s %s", fault.Detail(err), code, reason)
	}
}
