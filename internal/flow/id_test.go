package flow_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenon-run/tenon/internal/flow"
)

func TestMakeID(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
		id := flow.MakeID(ms, [10]byte(rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "entropy")))
		if id.Time().UnixMilli() != ms || id.Version() != 7 || id[8]>>6 != 2 || id.IsZero() {
			t.Fatalf("MakeID(%d) = %s: time %s, version %d", ms, id, id.Time(), id.Version())
		}
		again, err := flow.IDFromBytes(id[:])
		if err != nil || again != id {
			t.Fatalf("IDFromBytes gives %s, %v for %s", again, err, id)
		}
		if later := flow.MakeID(ms+1, [10]byte{}); ms < 1<<48-1 && bytes.Compare(id[:], later[:]) >= 0 {
			t.Fatalf("%s of a later millisecond sorts before %s", later, id)
		}
	})
}

func TestIDString(t *testing.T) {
	t.Parallel()
	id := flow.MakeID(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC).UnixMilli(), [10]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	if got, want := id.String(), "019b7ca9-8c8e-7fff-bfff-ffffffffff01"; got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
	if got, want := (flow.ID{}).String(), "00000000-0000-0000-0000-000000000000"; got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
}

func TestIDFromBytes(t *testing.T) {
	t.Parallel()
	if id, err := flow.IDFromBytes(nil); err != nil || !id.IsZero() {
		t.Errorf("no bytes: %s, %v", id, err)
	}
	for _, n := range []int{1, 15, 17, 36} {
		if id, err := flow.IDFromBytes(make([]byte, n)); !errors.Is(err, flow.ErrBadID) || !id.IsZero() {
			t.Errorf("%d bytes: %s, %v", n, id, err)
		}
	}
}
