package authn

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

const (
	// SubjectRevoked carries a busv1.Revoked for each revocation, after its commit.
	SubjectRevoked = "tenon.revoked"
	// SubjectBeacon carries a busv1.Beacon with the newest number, from each identity process, every BeaconEvery.
	SubjectBeacon = "tenon.revocations.beacon"
	// BeaconEvery is the beat of the beacons: 500 ms.
	BeaconEvery = 500 * time.Millisecond

	// beaconMissing is the silence after which a process reads the list itself.
	beaconMissing = 700 * time.Millisecond
	// readAtMost is the least time between two reads while beacons are missing or reads fail.
	readAtMost = 500 * time.Millisecond
	// readTimeout bounds one read of the list.
	readTimeout = 2 * time.Second
	// staleAfter is how long a process that hears no beacon and cannot read Postgres goes on trusting tokens.
	staleAfter = 5 * time.Second
	// purgeEvery is how often revocations of expired tokens are forgotten.
	purgeEvery = time.Minute
)

// RevocationsConfig is what Revocations needs.
type RevocationsConfig struct {
	// Pool reads the list. Required.
	Pool *pgxpool.Pool
	// Bus brings revocations and beacons. Required.
	Bus bus.Bus
	// Log gets a line when the list cannot be read. Default slog.Default().
	Log *slog.Logger
}

// Revocations knows which tokens are revoked and which memberships have changed. Run keeps it current.
type Revocations struct {
	list listFunc
	bus  bus.Bus
	log  *slog.Logger
	wake chan struct{}

	mu      sync.RWMutex
	known   int64 // every number up to this one is applied
	wanted  int64 // the highest number heard of
	revoked map[flow.ID]time.Time
	changed map[member]change
	watches map[subject]map[*watch]struct{}
	beacon  time.Time // when the last beacon came
	current time.Time // when known was last proved to be the newest number; zero before the first read
	purged  time.Time
}

// member is a user in a tenant; its role there is its membership.
type member struct {
	user   flow.ID
	tenant int64
}

// change is the newest change of a membership: what was read when known was at least number is newer.
type change struct {
	number  int64
	expires time.Time
}

// subject is what a revocation is about: a token, or a membership.
type subject struct {
	token  flow.ID
	member member
}

type watch struct{ end func(error) }

// revocation is one row of the list. Where member is set, a membership has changed and no token is revoked.
type revocation struct {
	number  int64
	token   flow.ID
	member  member
	expires time.Time
}

// listFunc returns the newest number and the revocations in force above after.
type listFunc func(ctx context.Context, after int64) (newest int64, list []revocation, err error)

// NewRevocations returns a list that knows nothing until Run has read it.
func NewRevocations(cfg RevocationsConfig) (*Revocations, error) {
	if cfg.Pool == nil || cfg.Bus == nil {
		return nil, errors.New("authn: RevocationsConfig.Pool and Bus are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return newRevocations(listFrom(sharedq.New(cfg.Pool)), cfg.Bus, cfg.Log), nil
}

func newRevocations(list listFunc, messages bus.Bus, log *slog.Logger) *Revocations {
	return &Revocations{
		list: list, bus: messages, log: log, wake: make(chan struct{}, 1),
		revoked: make(map[flow.ID]time.Time), changed: make(map[member]change), watches: make(map[subject]map[*watch]struct{}),
	}
}

// listFrom reads from Postgres. The newest number is read first: numbers are committed in order, so the list holds all up to it.
func listFrom(queries *sharedq.Queries) listFunc {
	return func(ctx context.Context, after int64) (int64, []revocation, error) {
		newest, err := queries.NewestRevocation(ctx)
		if err != nil || newest <= after {
			return newest, nil, pg.Fault(err)
		}
		rows, err := queries.RevocationsAfter(ctx, after)
		if err != nil {
			return 0, nil, pg.Fault(err)
		}
		list := make([]revocation, len(rows))
		for i, row := range rows {
			list[i] = revocation{number: row.Number, token: row.TokenID, member: member{row.UserID, row.TenantID}, expires: row.ExpiresAt}
		}
		return newest, list, nil
	}
}

// Run keeps the list current until ctx ends, and returns nil then. It fails only when the bus refuses its subscriptions.
func (r *Revocations) Run(ctx context.Context) error { return r.RunReady(ctx, func() {}) }

// RunReady is Run for a loop.Service: ready is called when the list has been read for the first time.
func (r *Revocations) RunReady(ctx context.Context, ready func()) error {
	// First listen, then read: what is revoked in between is in one of the two.
	revoked, err := r.bus.Subscribe(SubjectRevoked, r.onRevoked)
	if err != nil {
		return err
	}
	defer revoked.Stop()
	beacons, err := r.bus.Subscribe(SubjectBeacon, r.onBeacon)
	if err != nil {
		return err
	}
	defer beacons.Stop()

	timer := time.NewTimer(0)
	defer timer.Stop()
	var read time.Time
	failing, begun := false, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		if due := r.due(read, failing); time.Until(due) > 0 {
			timer.Reset(time.Until(due))
			continue
		}
		read = time.Now()
		err := r.read(ctx, read)
		if err != nil && !failing && ctx.Err() == nil {
			r.log.Warn("authn: the list of revoked tokens cannot be read", "error", fault.Detail(err))
		}
		failing = err != nil
		if !begun && err == nil {
			begun = true
			ready()
		}
		timer.Reset(time.Until(r.due(read, failing)))
	}
}

// due returns when the list must be read next: at once when a number is missing, else when beacons have been missing for too long.
func (r *Revocations) due(read time.Time, failing bool) time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	next := read.Add(readAtMost)
	switch {
	case read.IsZero():
		return time.Time{}
	case failing:
		return next
	case r.wanted > r.known:
		return read.Add(readAtMost / 10)
	}
	if silent := r.beacon.Add(beaconMissing); silent.After(next) {
		return silent
	}
	return next
}

func (r *Revocations) read(ctx context.Context, began time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r.mu.RLock()
	after, wanted := r.known, r.wanted
	r.mu.RUnlock()
	newest, list, err := r.list(ctx, after)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, item := range list {
		r.apply(item)
	}
	r.known = max(r.known, newest)
	r.current = began // Postgres has the last word, whatever number was heard of.
	if r.wanted == wanted {
		r.wanted = min(wanted, r.known) // A number that Postgres does not have is not asked for again until the next beacon.
	}
	r.purge(began)
	return nil
}

func (r *Revocations) onRevoked(msg bus.Msg) {
	var item busv1.Revoked
	if err := proto.Unmarshal(msg.Data, &item); err != nil {
		r.log.Warn("authn: a revocation cannot be read", "error", err)
		return
	}
	if item.GetTokenId() == "" { // Of a changed membership, and of several at once, the number alone is told: the list says what they are.
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hear(item.GetNumber())
		return
	}
	id, err := parseID(typeid.Token, item.GetTokenId())
	if err != nil {
		r.log.Warn("authn: a revocation names no token", "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apply(revocation{number: item.GetNumber(), token: id, expires: time.Unix(item.GetExpires(), 0)})
	if item.GetNumber() == r.known+1 && !r.current.IsZero() {
		r.known++
	}
	r.hear(item.GetNumber())
}

func (r *Revocations) onBeacon(msg bus.Msg) {
	var item busv1.Beacon
	if err := proto.Unmarshal(msg.Data, &item); err != nil {
		r.log.Warn("authn: a beacon cannot be read", "error", err)
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beacon = now
	r.hear(item.GetNumber())
	if r.wanted <= r.known && !r.current.IsZero() {
		r.current = now
	}
	r.purge(now)
}

// hear notes that a number exists, and wakes the reader when it is one that has not been applied. The lock is held.
func (r *Revocations) hear(number int64) {
	r.wanted = max(r.wanted, number)
	if r.wanted <= r.known {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// apply revokes a token or notes a changed membership, and ends what is open with it. The lock is held; ending a context does not come back for it.
func (r *Revocations) apply(item revocation) {
	about, cause := subject{token: item.token}, revokedToken()
	if item.member == (member{}) {
		r.revoked[item.token] = item.expires
	} else {
		about, cause = subject{member: item.member}, membershipChanged()
		if known := r.changed[item.member]; item.number <= known.number {
			return // Told twice: who came back since then has the right role.
		}
		r.changed[item.member] = change{number: item.number, expires: item.expires}
	}
	for w := range r.watches[about] {
		go w.end(cause) // A cancellation runs the hooks of whoever waits for the context: not under our lock.
	}
}

func (r *Revocations) purge(now time.Time) {
	if now.Sub(r.purged) < purgeEvery {
		return
	}
	r.purged = now
	for token, expires := range r.revoked {
		if now.Sub(expires) > purgeEvery { // a little longer than the token lives, for clocks that differ
			delete(r.revoked, token)
		}
	}
	for key, last := range r.changed {
		if now.Sub(last.expires) > purgeEvery {
			delete(r.changed, key)
		}
	}
}

// asOf returns the number up to which everything is applied: what is read from Postgres afterwards is at least as new.
func (r *Revocations) asOf() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.known
}

// isStale reports whether the membership has changed since it was read as of a number.
func (r *Revocations) isStale(key member, asOf int64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed[key].number > asOf
}

// check returns nil for a token that is known not to be revoked.
func (r *Revocations) check(token flow.ID) error {
	r.mu.RLock()
	_, revoked := r.revoked[token]
	current := r.current
	r.mu.RUnlock()
	switch {
	case revoked:
		return revokedToken()
	case current.IsZero() || time.Since(current) > staleAfter:
		return fault.Unavailable(ReasonRevocationsUnknown, "the server cannot find out at the moment whether the token has been revoked; send the call again").
			WithRetryAfter(readAtMost)
	default:
		return nil
	}
}

// watchToken calls end once, from another goroutine or before it returns, when the token is revoked.
func (r *Revocations) watchToken(token flow.ID, end func(error)) (unwatch func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, revoked := r.revoked[token]; revoked {
		end(revokedToken())
		return func() {}
	}
	return r.watch(subject{token: token}, end)
}

// watchMember is watchToken for a membership that was read as of a number.
func (r *Revocations) watchMember(key member, asOf int64, end func(error)) (unwatch func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed[key].number > asOf {
		end(membershipChanged())
		return func() {}
	}
	return r.watch(subject{member: key}, end)
}

// watch is called with the lock held.
func (r *Revocations) watch(about subject, end func(error)) (unwatch func()) {
	w := &watch{end: end}
	if r.watches[about] == nil {
		r.watches[about] = make(map[*watch]struct{})
	}
	r.watches[about][w] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watches[about], w)
		if len(r.watches[about]) == 0 {
			delete(r.watches, about)
		}
	}
}
