package identity

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

const (
	// recountEvery is how often the newest number is read from Postgres, in case another process died between commit and message: 15 s.
	recountEvery = 15 * time.Second
	// maintainEvery is how often old keys, sessions and revocations are looked after: 1 h.
	maintainEvery = time.Hour
)

// Run makes the signing key if there is none, beacons the newest revocation's number every authn.BeaconEvery, and once an hour rotates a key that
// has grown old and deletes what is over, until ctx ends. It returns nil then, and an error when the master key does not fit the database.
func (s *Service) Run(ctx context.Context) error {
	if _, err := s.keys.theSigner(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped before it began
		}
		return err
	}
	// What other identity processes revoke counts in this one's beacon too.
	revoked, err := s.cfg.Bus.Subscribe(authn.SubjectRevoked, func(msg bus.Msg) {
		var item busv1.Revoked
		if proto.Unmarshal(msg.Data, &item) == nil {
			s.hear(item.GetNumber())
		}
	})
	if err != nil {
		return err
	}
	defer revoked.Stop()

	ticker := time.NewTicker(authn.BeaconEvery)
	defer ticker.Stop()
	queries := sharedq.New(s.cfg.Pool)
	var counted, tried, maintained time.Time
	for {
		now := time.Now()
		if now.Sub(counted) >= recountEvery && now.Sub(tried) >= time.Second {
			tried = now
			if number, err := queries.NewestRevocation(ctx); err == nil {
				s.hear(number)
				counted = now
			} else if ctx.Err() == nil {
				s.cfg.Log.Warn("identity: the newest revocation cannot be read", "error", fault.Detail(pg.Fault(err)))
			}
		}
		if now.Sub(maintained) >= maintainEvery && !counted.IsZero() {
			maintained = now
			s.maintain(ctx)
		}
		if !counted.IsZero() { // Before, a beacon would vouch for a number that is not known.
			s.publish(authn.SubjectBeacon, &busv1.Beacon{Number: s.newest.Load()})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
