package identity

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
)

// SignOut revokes the session that the call was made with. Signing out twice is fine.
func (s *Service) SignOut(ctx context.Context, caller authn.Principal) error {
	return s.revoke(ctx, caller.TokenID, func(queries *identityq.Queries) (time.Time, error) {
		expires, err := queries.RevokeSession(ctx, identityq.RevokeSessionParams{UserID: caller.UserID, ID: caller.TokenID})
		if errors.Is(err, pgx.ErrNoRows) {
			return time.Time{}, fault.FailedPrecondition("NO_SESSION", "the call was not made with a session token: sign in first")
		}
		return expires, err
	})
}
