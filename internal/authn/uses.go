package authn

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tenon-run/tenon/db/sharedq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
)

const (
	// noteEvery is how often the last uses of tokens are written: all in one statement, and none when no token was used.
	noteEvery = time.Minute
	// noteMost bounds the tokens remembered until then; of further ones the use is not noted this time.
	noteMost = 100_000
)

// uses remembers when tokens were used last.
type uses struct {
	mu   sync.Mutex
	last map[tokenKey]time.Time
}

type tokenKey struct {
	tenant int64
	id     flow.ID
}

func (u *uses) note(p Principal, now time.Time) {
	key := tokenKey{p.TenantID, p.TokenID}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.last[key]; known || len(u.last) < noteMost {
		u.last[key] = now
	}
}

func (u *uses) take() map[tokenKey]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.last
	u.last = make(map[tokenKey]time.Time)
	return out
}

// NoteUses writes down when API and worker tokens were used last, once a minute and at the end, until ctx ends. A note that fails is lost: the token's
// next use makes another.
func (v *Verifier) NoteUses(ctx context.Context, log *slog.Logger) error {
	ticker := time.NewTicker(noteEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			final, cancel := context.WithTimeout(context.WithoutCancel(ctx), touchTimeout)
			defer cancel()
			return v.writeUses(final, log)
		case <-ticker.C:
			if err := v.writeUses(ctx, log); err != nil {
				return err
			}
		}
	}
}

func (v *Verifier) writeUses(ctx context.Context, log *slog.Logger) error {
	used := v.uses.take()
	if len(used) == 0 {
		return nil
	}
	var params sharedq.TouchTokensParams
	// In one order everywhere: processes that write the same tokens at once wait for each other, and never crosswise.
	keys := slices.SortedFunc(maps.Keys(used), func(a, b tokenKey) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), bytes.Compare(a.id[:], b.id[:]))
	})
	for _, key := range keys {
		params.TenantIds, params.Ids, params.UsedAts = append(params.TenantIds, key.tenant), append(params.Ids, key.id), append(params.UsedAts, used[key])
	}
	if err := v.queries.TouchTokens(ctx, params); err != nil {
		log.Warn("authn: the last uses of tokens were not noted", "tokens", len(used), "error", pg.Clean(err))
	}
	return nil
}
