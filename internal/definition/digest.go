package definition

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"

	"github.com/tenon-run/tenon/internal/flow"
)

// Digest names a declaration by its content. It is taken from the checked workflow with its defaults filled in: a declaration that spells a default
// out is the same version as one that leaves it to the server, and what a task inherits is the same as what it says itself. Order counts, in tasks,
// parents and error kinds; so does every byte of the input schema.
//
// The form is fixed, since stored digests are compared with new ones: every text with its length before it, every number in eight bytes, in the
// order below. A field added later must be written only when it differs from what older declarations mean.
func Digest(w *flow.Workflow) [sha256.Size]byte {
	d := digester{sha256.New()}
	d.text("tenon.workflow.1")
	d.text(w.Name)
	d.text(w.Description)
	d.number(int64(w.RunTimeout))
	d.text(w.InputSchema)
	d.number(int64(w.Priority))
	d.number(int64(w.Class))
	d.number(int64(len(w.Tasks)))
	for _, t := range w.Tasks {
		d.text(t.Name)
		d.texts(t.Parents)
		d.text(t.Queue)
		d.number(int64(t.ScheduleTimeout))
		d.number(int64(t.ExecutionTimeout))
		d.number(int64(t.MaxLost))
		d.number(int64(t.Retry.Max))
		d.number(int64(t.Retry.Initial))
		d.number(int64(math.Float64bits(t.Retry.Factor))) //nolint:gosec // the bits, not the value
		d.number(int64(t.Retry.MaxBackoff))
		d.texts(t.Retry.RetryOn)
		d.texts(t.Retry.Never)
	}
	return [sha256.Size]byte(d.hash.Sum(nil))
}

type digester struct{ hash hash.Hash }

func (d digester) number(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // the bits, not the value
	_, _ = d.hash.Write(b[:])                   // a hash never fails
}

func (d digester) text(s string) {
	d.number(int64(len(s)))
	_, _ = d.hash.Write([]byte(s))
}

func (d digester) texts(list []string) {
	d.number(int64(len(list)))
	for _, s := range list {
		d.text(s)
	}
}
