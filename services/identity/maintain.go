package identity

import (
	"context"
	"log/slog"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

// maintain does what is due from time to time: it rotates a signing key that has grown old, deletes keys whose tokens have all expired, and forgets
// sessions and revocations that are over. Several processes may do so at once. What fails is tried again the next time.
func (s *Service) maintain(ctx context.Context) {
	log := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("identity: "+what, "error", fault.Detail(err))
		}
	}
	if made, err := s.keys.rotate(ctx, s.cfg.KeyLifetime); err != nil {
		log("the signing key was not rotated", err)
	} else if made.State != "" {
		s.cfg.Log.Info("identity: a new signing key", slog.String("kid", made.ID), slog.Time("signs_from", made.SignsFrom))
	}
	dropped, err := s.keys.retire(ctx)
	log("old signing keys were not retired", err)
	for _, kid := range dropped {
		s.cfg.Log.Info("identity: a signing key whose tokens have expired is deleted", slog.String("kid", kid))
	}
	log("old revocations were not deleted", pg.Fault(s.queries.PruneRevocations(ctx)))
	log("old invitations were not deleted", pg.Fault(s.queries.PruneInvitations(ctx)))
	log("expired sessions were not deleted", pg.Fault(s.queries.PruneSessions(ctx)))
}
