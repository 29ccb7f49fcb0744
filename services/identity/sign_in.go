package identity

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/pg"
)

// SignIn checks a password. Unauthenticated says neither which part was wrong nor whether there is such a user, and takes the same work in both
// cases; ResourceExhausted after ten failures within a minute for the address.
func (s *Service) SignIn(ctx context.Context, email, password string) (Session, error) {
	email = strings.TrimSpace(email)
	if err := s.lockout.begin(email, s.cfg.Now()); err != nil {
		return Session{}, err
	}
	row, err := s.queries.UserByEmail(ctx, email)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Session{}, pg.Fault(err)
	}
	matches, err := s.hasher.matches(ctx, password, row.PasswordHash)
	if err != nil {
		return Session{}, err
	}
	if !matches {
		return Session{}, fault.Unauthenticated("SIGN_IN_FAILED", "the address or the password is wrong")
	}
	s.lockout.forgive(email)
	return s.openSession(ctx, s.cfg.Pool, User{ID: row.ID, Email: row.Email, DisplayName: row.DisplayName, Created: row.CreatedAt})
}
