package identity

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/db/identityq"
	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	"github.com/tenon-run/tenon/proto/typeid"
)

// ListTokens lists the tokens of the call's tenant, newest first, revoked and expired ones included, and the token of the next page, empty on the last.
func (s *Service) ListTokens(ctx context.Context, caller authn.Principal, page Page) ([]Token, string, error) {
	const list = "tokens"
	after, err := page.cursor(list)
	if err != nil {
		return nil, "", err
	}
	params := identityq.TokensBeforeParams{TenantID: caller.TenantID, PageSize: page.size() + 1, BeforeID: flow.ID(bytes.Repeat([]byte{0xff}, len(flow.ID{})))}
	if after != nil {
		params.BeforeID = idOf(after.ID)
	}
	rows, err := s.queries.TokensBefore(ctx, params)
	if err != nil {
		return nil, "", pg.Fault(err)
	}
	rows, next, err := cut(rows, page.size(), func(row identityq.Token) cursor { return cursor{List: list, ID: row.ID[:]} })
	tokens := make([]Token, len(rows))
	for i, row := range rows {
		tokens[i] = tokenFromRow(row)
	}
	return tokens, next, err
}

// RevokeToken ends a token of the call's tenant. NotFound for one that is not the tenant's; revoking twice is fine.
func (s *Service) RevokeToken(ctx context.Context, caller authn.Principal, id flow.ID) (Token, error) {
	var token Token
	err := s.revoke(ctx, id, func(queries *identityq.Queries) (time.Time, error) {
		row, err := queries.RevokeToken(ctx, identityq.RevokeTokenParams{TenantID: caller.TenantID, ID: id})
		if errors.Is(err, pgx.ErrNoRows) {
			return time.Time{}, fault.NotFound("token", publicID(typeid.Token, id))
		}
		token = tokenFromRow(row)
		return row.ExpiresAt, err
	})
	return token, err
}
