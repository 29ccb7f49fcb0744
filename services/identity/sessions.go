package identity

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

const (
	maxUserAgent = 256 // bytes
	maxAddress   = 64
)

// ListSessions lists the sign-ins of the calling user that are good, newest first, and the token of the next page, empty on the last.
func (s *Service) ListSessions(ctx context.Context, caller authn.Principal, page Page) ([]OpenSession, string, error) {
	const list = "sessions"
	after, err := page.cursor(list)
	if err != nil {
		return nil, "", err
	}
	params := identityq.OpenSessionsBeforeParams{UserID: caller.UserID, PageSize: page.size() + 1, BeforeID: flow.ID(bytes.Repeat([]byte{0xff}, len(flow.ID{})))}
	if after != nil {
		params.BeforeID = idOf(after.ID)
	}
	rows, err := s.queries.OpenSessionsBefore(ctx, params)
	if err != nil {
		return nil, "", pg.Fault(err)
	}
	rows, next, err := cut(rows, page.size(), func(row identityq.OpenSessionsBeforeRow) cursor { return cursor{List: list, ID: row.ID[:]} })
	sessions := make([]OpenSession, len(rows))
	for i, row := range rows {
		sessions[i] = OpenSession{
			ID: row.ID, Created: row.CreatedAt, LastUsed: row.LastUsedAt, Expires: row.ExpiresAt, UserAgent: row.UserAgent, Address: row.Address,
			Current: row.ID == caller.TokenID,
		}
	}
	return sessions, next, err
}

// SignOutSession revokes one session of the calling user. NotFound for one that is not the user's; ending one twice is fine.
func (s *Service) SignOutSession(ctx context.Context, caller authn.Principal, id flow.ID) error {
	return s.revoke(ctx, id, func(queries *identityq.Queries) (time.Time, error) {
		expires, err := queries.RevokeSession(ctx, identityq.RevokeSessionParams{UserID: caller.UserID, ID: id})
		if errors.Is(err, pgx.ErrNoRows) {
			return time.Time{}, fault.NotFound("session", publicID(typeid.Session, id))
		}
		return expires, err
	})
}

// SignOutOtherSessions revokes all sessions of the calling user but the call's own, and returns how many that were.
func (s *Service) SignOutOtherSessions(ctx context.Context, caller authn.Principal) (int, error) {
	var number int64
	var ended []identityq.RevokeOtherSessionsRow
	err := pg.InTx(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		queries := s.queries.WithTx(tx)
		var err error
		if ended, err = queries.RevokeOtherSessions(ctx, identityq.RevokeOtherSessionsParams{UserID: caller.UserID, KeptID: caller.TokenID}); err != nil || len(ended) == 0 {
			return err
		}
		var all identityq.AddRevocationsParams
		for _, session := range ended {
			all.TokenIds, all.Expiries = append(all.TokenIds, session.ID), append(all.Expiries, session.ExpiresAt)
		}
		if err := queries.LockRevocations(ctx); err != nil {
			return err
		}
		number, err = queries.AddRevocations(ctx, all)
		return err
	})
	if err != nil {
		return 0, pg.Fault(err)
	}
	if len(ended) > 0 {
		s.announce(number)
	}
	return len(ended), nil
}

// printable returns at most so many bytes of what a stranger sent, without what a terminal or Postgres would choke on.
func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text[:min(len(text), 4*most)])
	for len(text) > most {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}
