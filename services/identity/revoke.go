package identity

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// revoke marks a token or session with mark, which returns when it would have expired, gives the revocation its number, and tells everybody.
// A token that was revoked before is told about again, in case the first message was lost with its sender.
func (s *Service) revoke(ctx context.Context, id flow.ID, mark func(*identityq.Queries) (time.Time, error)) error {
	var number int64
	var expires time.Time
	err := pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		var err error
		if expires, err = mark(queries); err != nil {
			return err
		}
		if err := queries.LockRevocations(ctx); err != nil {
			return err
		}
		number, err = queries.AddRevocation(ctx, identityq.AddRevocationParams{TokenID: id, ExpiresAt: expires})
		return err
	})
	if err != nil {
		return pg.Fault(err)
	}
	s.hear(number)
	s.publish(authn.SubjectRevoked, &busv1.Revoked{Number: number, TokenId: publicID(typeid.Token, id), Expires: expires.Unix()})
	return nil
}

// announce tells everybody that the list has grown up to a number, without saying how: they read it.
func (s *Service) announce(number int64) {
	s.hear(number)
	s.publish(authn.SubjectRevoked, &busv1.Revoked{Number: number})
}

// publish sends a hint. When it is lost, beacons (or their absence) make every process read the list.
func (s *Service) publish(subject string, message proto.Message) {
	data, err := proto.Marshal(message)
	if err == nil {
		err = s.cfg.Bus.Publish(subject, data)
	}
	if err != nil {
		s.cfg.Log.Warn("identity: a message was not published", "subject", subject, "error", err)
	}
}

// hear raises the number that the beacon carries.
func (s *Service) hear(number int64) {
	for {
		known := s.newest.Load()
		if number <= known || s.newest.CompareAndSwap(known, number) {
			return
		}
	}
}
