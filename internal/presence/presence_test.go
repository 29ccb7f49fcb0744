package presence_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/embedded"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/presence"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// clock stands still until a test moves it.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	looked chan struct{}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.looked <- struct{}{}:
	default:
	}
	return c.now
}

// looks is sent something whenever somebody looks at the clock and the test is listening.
func (c *clock) looks() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = make(chan struct{})
	return c.looked
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// process is one with a connection of its own.
type process struct {
	*presence.Presence

	clock *clock
	stop  func()
}

func start(t *testing.T, server *embedded.NATS, instance string, services ...string) *process {
	t.Helper()
	p := &process{clock: &clock{now: time.Unix(1_000, 0)}}
	made, err := presence.New(presence.Config{
		Bus: testkit.BusOn(t, server), Log: testkit.Logger(t), Self: presence.Process{Instance: instance, Services: services, Address: "http://" + instance},
		Every: 5 * time.Millisecond, Now: p.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Presence = made
	ready := make(chan struct{})
	task := loop.Start(context.WithoutCancel(t.Context()), instance, func(ctx context.Context) error { return made.Run(ctx, func() { close(ready) }) })
	p.stop = sync.OnceFunc(func() {
		if err := task.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(p.stop)
	<-ready
	made.Join()
	return p
}

// until waits for what p knows to be as wanted, change by change.
func until(t *testing.T, p *process, what string, ok func() bool) {
	t.Helper()
	patience := time.After(10 * time.Second)
	for {
		changed := p.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-patience:
			t.Fatalf("%s did not come true", what)
		}
	}
}

func TestProcessesFindEachOther(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	a := start(t, server, "a", "scheduler")
	b := start(t, server, "b", "dispatcher", "scheduler")
	until(t, a, "a sees b", func() bool { _, ok := a.Find("b"); return ok })
	until(t, b, "b sees a", func() bool { _, ok := b.Find("a"); return ok })
	if got := a.Running("dispatcher"); len(got) != 1 || got[0].Address != "http://b" {
		t.Errorf("a knows dispatchers %v", got)
	}
	if got := a.Running("identity"); len(got) != 0 {
		t.Errorf("a knows processes %v for a service that nobody runs", got)
	}
	b.Leave()
	until(t, a, "a hears that b leaves", func() bool { return len(a.Running("scheduler")) == 0 })
}

func TestAProcessIsNotKnownBeforeItJoins(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	a := start(t, server, "a")
	early, err := presence.New(presence.Config{
		Bus: testkit.BusOn(t, server), Log: testkit.Logger(t), Self: presence.Process{Instance: "early"}, Every: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	task := loop.Start(context.WithoutCancel(t.Context()), "early", func(ctx context.Context) error { return early.Run(ctx, func() { close(ready) }) })
	t.Cleanup(func() { _ = task.Stop(context.Background()) })
	<-ready
	start(t, server, "b") // announces itself after early was asked
	until(t, a, "a sees b", func() bool { _, ok := a.Find("b"); return ok })
	if _, known := a.Find("early"); known {
		t.Error("a process is known that has not joined")
	}
	if a.Gone(t.Context(), "early") {
		t.Error("a process that has not joined counts as gone")
	}
	early.Join()
	until(t, a, "a sees the one that joined", func() bool { _, ok := a.Find("early"); return ok })
}

func TestASilentProcessCountsAsGone(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	a, b := start(t, server, "a"), start(t, server, "b", "scheduler")
	until(t, a, "a sees b", func() bool { return len(a.Running("scheduler")) == 1 })
	if a.Gone(t.Context(), "b") {
		t.Error("a process that answers counts as gone")
	}
	b.stop() // without a word, as if it were killed
	a.clock.advance(3 * time.Second)
	if len(a.Running("scheduler")) != 1 {
		t.Error("a process is given up before its silence has lasted")
	}
	a.clock.advance(2 * time.Second)
	until(t, a, "a gives b up", func() bool { return len(a.Running("scheduler")) == 0 })
	if !a.Gone(t.Context(), "b") {
		t.Error("nobody answers for b, and it does not count as gone")
	}
}

// One whose announcements got lost, but who answers, is there.
func TestASilentProcessThatAnswersStays(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	a, b := start(t, server, "a"), start(t, server, "b", "scheduler")
	until(t, a, "a sees b", func() bool { return len(a.Running("scheduler")) == 1 })
	quiet, err := presence.New(presence.Config{
		Bus: testkit.BusOn(t, server), Log: testkit.Logger(t), Self: presence.Process{Instance: "quiet", Services: []string{"identity"}}, Every: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	task := loop.Start(context.WithoutCancel(t.Context()), "quiet", func(ctx context.Context) error { return quiet.Run(ctx, func() { close(ready) }) })
	t.Cleanup(func() { _ = task.Stop(context.Background()) })
	<-ready
	quiet.Join()
	until(t, a, "a sees the quiet one", func() bool { return len(a.Running("identity")) == 1 })
	b.stop()
	a.clock.advance(time.Minute)
	until(t, a, "a gives b up", func() bool { return len(a.Running("scheduler")) == 0 })
	if len(a.Running("identity")) != 1 {
		t.Error("a process that answers was given up")
	}
}

// Nobody is forgotten while the bus is away: calls and streams find their way when it is back.
func TestABusThatIsAwayLetsNobodyGo(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	a := start(t, server, "a")
	start(t, server, "b", "scheduler")
	until(t, a, "a sees b", func() bool { return len(a.Running("scheduler")) == 1 })
	server.Shutdown()
	looked := a.clock.looks()
	a.clock.advance(time.Minute)
	for range 3 { // each turn looks once, and acts before the next
		<-looked
	}
	if len(a.Running("scheduler")) != 1 {
		t.Error("a process was given up because the bus is away")
	}
}

// Without a bus there is no evidence against anybody.
func TestABusThatIsAwayIsNoEvidence(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	a := start(t, server, "a")
	server.Shutdown()
	if a.Gone(t.Context(), "b") {
		t.Error("a process counts as gone because the bus is away")
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	log, b := testkit.Logger(t), testkit.Bus(t)
	for name, cfg := range map[string]presence.Config{
		"no bus":       {Log: log, Self: presence.Process{Instance: "a"}},
		"no log":       {Bus: b, Self: presence.Process{Instance: "a"}},
		"no instance":  {Bus: b, Log: log},
		"bad instance": {Bus: b, Log: log, Self: presence.Process{Instance: "a.b"}},
	} {
		if _, err := presence.New(cfg); err == nil {
			t.Errorf("%s: a bad config is taken", name)
		}
	}
}
