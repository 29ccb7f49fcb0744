package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// Subjects of the package.
const (
	// SubjectPresence carries what processes say of themselves.
	SubjectPresence = "tenon.presence"
	// SubjectWanted asks every process to say it at once.
	SubjectWanted = "tenon.presence.wanted"
)

// PingSubject is where a process answers that it lives.
func PingSubject(instance string) string { return "tenon.process." + instance }

// Process is one process of the install.
type Process struct {
	// Instance tells this start of the process from all others; one token of a bus subject.
	Instance string
	// Services are the names of what it runs.
	Services []string
	// Address is the URL of its port.
	Address string
}

// Runs tells whether the process runs a service.
func (p Process) Runs(service string) bool { return slices.Contains(p.Services, service) }

// Config is what a Presence needs. The first block is required.
type Config struct {
	Bus  bus.Bus
	Log  *slog.Logger
	Self Process

	// Every is how often the process announces itself. Default 1 s.
	Every time.Duration
	// Silence is how long another process may say nothing before it is asked, and counts as gone when it does not answer. Default 4 s.
	Silence time.Duration
	// Now is the clock of Silence. Default time.Now.
	Now func() time.Time
}

// Presence is one process's knowledge of the others.
type Presence struct {
	cfg Config

	mu      sync.Mutex
	others  map[string]heard
	changed chan struct{} // closed and made anew whenever the set of others changes
	joined  bool
	leaving bool
}

type heard struct {
	Process

	at time.Time
}

// New returns a Presence that neither announces nor hears anything before Run.
func New(cfg Config) (*Presence, error) {
	if cfg.Bus == nil || cfg.Log == nil {
		return nil, errors.New("presence: Bus and Log are required")
	}
	if cfg.Self.Instance == "" || strings.ContainsAny(cfg.Self.Instance, ". *>\t\r\n") {
		return nil, fmt.Errorf("presence: Self.Instance is %q, it must be one token of a bus subject", cfg.Self.Instance)
	}
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Silence == 0 {
		cfg.Silence = 4 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Presence{cfg: cfg, others: make(map[string]heard), changed: make(chan struct{})}, nil
}

// Run listens to the others until ctx ends, and from Join on announces this process; ready is called when the others have been asked to
// announce themselves. Call Leave before ctx ends, so that they send nothing more here.
func (p *Presence) Run(ctx context.Context, ready func()) error {
	presence, err := p.cfg.Bus.Subscribe(SubjectPresence, p.hear)
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer presence.Stop()
	wanted, err := p.cfg.Bus.Subscribe(SubjectWanted, func(bus.Msg) { p.announce() })
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer wanted.Stop()
	ping, err := p.cfg.Bus.Serve(PingSubject(p.cfg.Self.Instance), func(context.Context, []byte) ([]byte, error) { return nil, nil })
	if err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	defer ping.Stop()
	p.announce()
	p.publish(SubjectWanted, &busv1.Presence{})
	ready()
	beat := time.NewTicker(p.cfg.Every)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			p.announce()
			p.expire(ctx)
		}
	}
}

// Join tells the others that this process is at work, and goes on doing so.
func (p *Presence) Join() {
	p.mu.Lock()
	p.joined = true
	p.mu.Unlock()
	p.announce()
}

// Leave tells the others at once that this process takes no more work.
func (p *Presence) Leave() {
	p.mu.Lock()
	p.leaving = true
	p.mu.Unlock()
	p.announce()
}

func (p *Presence) announce() {
	p.mu.Lock()
	self := &busv1.Presence{Instance: p.cfg.Self.Instance, Services: p.cfg.Self.Services, Address: p.cfg.Self.Address, Leaving: p.leaving}
	joined := p.joined
	p.mu.Unlock()
	if !joined {
		return
	}
	p.publish(SubjectPresence, self)
}

func (p *Presence) publish(subject string, message *busv1.Presence) {
	data, err := proto.Marshal(message)
	if err == nil {
		err = p.cfg.Bus.Publish(subject, data)
	}
	if err != nil {
		p.cfg.Log.Debug("presence: not announced", "error", err) // The bus itself says when the connection is lost.
	}
}

func (p *Presence) hear(msg bus.Msg) {
	said := new(busv1.Presence)
	if err := proto.Unmarshal(msg.Data, said); err != nil || said.GetInstance() == "" || said.GetInstance() == p.cfg.Self.Instance {
		return
	}
	next := heard{Process{said.GetInstance(), said.GetServices(), said.GetAddress()}, p.cfg.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.others[next.Instance]
	switch {
	case said.GetLeaving() && known:
		p.cfg.Log.Info("presence: a process leaves", "instance", next.Instance, "services", next.Services)
		delete(p.others, next.Instance)
	case said.GetLeaving():
		return
	default:
		p.others[next.Instance] = next
		if known && before.Address == next.Address && slices.Equal(before.Services, next.Services) {
			return
		}
		p.cfg.Log.Info("presence: a process is here", "instance", next.Instance, "services", next.Services, "address", next.Address)
	}
	p.notify()
}

// expire forgets processes that have been silent for too long and do not answer either. While this process's own bus is away everybody is silent: that
// is no news of them.
func (p *Presence) expire(ctx context.Context) {
	now := p.cfg.Now()
	silent := make(map[string]error)
	p.mu.Lock()
	for name, other := range p.others {
		if now.Sub(other.at) > p.cfg.Silence {
			silent[name] = nil
		}
	}
	p.mu.Unlock()
	if len(silent) == 0 {
		return
	}
	for name := range silent {
		silent[name] = p.ask(ctx, name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := false
	for name, err := range silent {
		other, known := p.others[name]
		switch {
		case !known || other.at.After(now):
		case err == nil:
			other.at = now
			p.others[name] = other
		case !fault.HasReason(err, bus.ReasonDisconnected) && ctx.Err() == nil:
			p.cfg.Log.Warn("presence: a process is silent and counts as gone", "instance", name, "services", other.Services, "silent", now.Sub(other.at))
			delete(p.others, name)
			gone = true
		}
	}
	if gone {
		p.notify()
	}
}

func (p *Presence) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Changed returns a channel that is closed when a process comes, goes or changes.
func (p *Presence) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Running lists the other processes that run a service, by instance.
func (p *Presence) Running(service string) []Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Process
	for _, other := range p.others {
		if other.Runs(service) {
			list = append(list, other.Process)
		}
	}
	slices.SortFunc(list, func(a, b Process) int { return strings.Compare(a.Instance, b.Instance) })
	return list
}

// All lists the other processes, in no particular order.
func (p *Presence) All() []Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Process, 0, len(p.others))
	for _, other := range p.others {
		list = append(list, other.Process)
	}
	return list
}

// Find returns another process by its instance.
func (p *Presence) Find(instance string) (Process, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	other, ok := p.others[instance]
	return other.Process, ok
}

// Gone asks a process whether it lives, and reports true only on evidence that it does not: the bus knows of nobody who would answer.
// Silence is no evidence, and neither is a bus that is away.
func (p *Presence) Gone(ctx context.Context, instance string) bool {
	if instance == p.cfg.Self.Instance {
		return false
	}
	return fault.HasReason(p.ask(ctx, instance), bus.ReasonNoResponder)
}

// ask lets a process say that it lives.
func (p *Presence) ask(ctx context.Context, instance string) error {
	const patience = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := p.cfg.Bus.Request(ctx, PingSubject(instance), nil)
	return err //nolint:wrapcheck // a fault already
}
