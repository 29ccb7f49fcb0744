package scheduler

import (
	"encoding/base64"
	"encoding/binary"
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

const (
	recentChanges = 8192 // remembered for each tenant that somebody watches
	toldChanges   = 500  // told to one stream at a time; beyond it, the reader reads its list again
)

// recent remembers which of a tenant's runs have changed lately, in order, so that a stream that broke goes on where it was. It lives in the tenant's
// subscription, under its lock, from the first stream on.
type recent struct {
	id            flow.ID // of this memory: a token of another one says nothing here
	epoch, number int64   // of the newest message
	suspect       int64   // a message that its sender has sent and nobody has heard yet
	seq           int64   // changes heard so far
	forgotten     int64   // changes up to this one are not known any more, or were never heard
	changes       []runChange
	streams       map[*runStream]struct{}
}

type runChange struct {
	seq      int64
	run      flow.ID
	workflow int64
}

// hear takes a message in. One that does not follow the one before tells that some were lost: every stream reads anew then.
func (r *recent) hear(said *busv1.RunNotices) {
	if r.id.IsZero() {
		return
	}
	if said.GetEpoch() < r.epoch {
		return // an earlier owner's last words
	}
	if r.number >= 0 && (said.GetEpoch() != r.epoch || said.GetNumber() != r.number+1) {
		r.lose()
	}
	r.epoch, r.number = said.GetEpoch(), said.GetNumber()
	for _, n := range said.GetRuns() {
		id, err := flow.IDFromBytes(n.GetRunId())
		if err != nil {
			continue
		}
		r.seq++
		r.changes = append(r.changes, runChange{r.seq, id, n.GetWorkflowId()})
	}
	if len(said.GetRuns()) == 0 {
		return // it is about workers
	}
	if over := len(r.changes) - recentChanges; over > 0 {
		r.forgotten = r.changes[over-1].seq
		r.changes = slices.Delete(r.changes, 0, over)
	}
	r.wake()
}

// lose says that changes were missed.
func (r *recent) lose() {
	r.seq++
	r.forgotten, r.changes = r.seq, nil
	r.wake()
}

func (r *recent) wake() {
	for s := range r.streams {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// compare holds what was heard against what the owner says that it has sent. A message may be on its way: it counts as lost when it has not come by
// the next time.
func (r *recent) compare(epoch, number int64) {
	switch {
	case r.number < 0:
		r.epoch, r.number = epoch, number
	case epoch < r.epoch || epoch == r.epoch && number <= r.number:
		r.suspect = 0
	case r.suspect == 0:
		r.suspect = max(number, 1)
	default:
		r.suspect, r.epoch, r.number = 0, epoch, number
		r.lose()
	}
}

// since are the runs of a workflow, or all, that have changed since a place; false when that is not known, or too much.
func (r *recent) since(seq, workflow int64) ([]flow.ID, bool) {
	if seq < r.forgotten || seq > r.seq {
		return nil, false
	}
	at, _ := slices.BinarySearchFunc(r.changes, seq+1, func(c runChange, want int64) int { return int(c.seq - want) })
	var ids []flow.ID
	seen := make(map[flow.ID]bool)
	for _, c := range r.changes[at:] {
		if seen[c.run] || workflow != 0 && c.workflow != workflow {
			continue
		}
		if len(ids) == toldChanges {
			return nil, false
		}
		seen[c.run] = true
		ids = append(ids, c.run)
	}
	return ids, true
}

// token names a place in this memory.
func (r *recent) token(seq int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(slices.Clone(r.id[:]), uint64(seq))) //nolint:gosec // counts from 1
}

// place reads a token; false when it is none, or of another memory.
func (r *recent) place(token string) (int64, bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != len(r.id)+8 || flow.ID(b[:len(r.id)]) != r.id {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b[len(r.id):])), true //nolint:gosec // as written above
}
