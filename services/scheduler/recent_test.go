package scheduler

import (
	"testing"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// said is one message about some runs.
func said(epoch, number int64, runs ...byte) *busv1.RunNotices {
	out := &busv1.RunNotices{Epoch: epoch, Number: number}
	for _, r := range runs {
		id := flow.ID{r}
		out.Runs = append(out.Runs, &busv1.RunNotice{RunId: id[:], WorkflowId: int64(r % 2)})
	}
	return out
}

func listening() *heard {
	h := &heard{}
	h.follow(&runStream{wake: make(chan struct{}, 1), seq: -1}, "")
	h.recent.compare(1, 0)
	return h
}

func TestRecentGoesOnWhereAStreamBroke(t *testing.T) {
	t.Parallel()
	h := listening()
	r := &h.recent
	r.hear(said(1, 1, 1, 2))
	token := r.token(r.seq)
	r.hear(said(1, 2, 3, 4, 3))
	place, ok := r.place(token)
	if !ok {
		t.Fatal("the memory does not know its own token")
	}
	ids, known := r.since(place, 0)
	if !known || len(ids) != 2 || ids[0] != (flow.ID{3}) || ids[1] != (flow.ID{4}) {
		t.Errorf("since the token: %v, known %t; want runs 3 and 4, each once", ids, known)
	}
	if ids, known := r.since(place, 1); !known || len(ids) != 1 || ids[0] != (flow.ID{3}) {
		t.Errorf("of workflow 1: %v, known %t", ids, known)
	}
	for name, token := range map[string]string{"another memory's": listening().recent.token(1), "no token": "?", "empty": ""} {
		if _, ok := r.place(token); ok {
			t.Errorf("%s is taken for a place", name)
		}
	}
}

// What was missed cannot be told, so the stream must say that it cannot.
func TestRecentKnowsWhatItHasMissed(t *testing.T) {
	t.Parallel()
	for name, miss := range map[string]func(r *recent){
		"a message is skipped":     func(r *recent) { r.hear(said(1, 3, 9)) },
		"the owner has changed":    func(r *recent) { r.hear(said(2, 1, 9)) },
		"the last message is lost": func(r *recent) { r.compare(1, 2); r.compare(1, 2) },
		"too much has changed": func(r *recent) {
			for i := range recentChanges + 1 {
				r.hear(said(1, int64(i+2), byte(i)))
			}
		},
	} {
		h := listening()
		r := &h.recent
		r.hear(said(1, 1, 1))
		place := r.seq
		miss(r)
		if ids, known := r.since(place, 0); known {
			t.Errorf("%s: the stream is told %v as if that were all", name, ids)
		}
		if ids, known := r.since(r.seq, 0); !known || len(ids) != 0 {
			t.Errorf("%s: a stream that has read anew does not go on: %v, %t", name, ids, known)
		}
	}
	h := listening()
	h.recent.compare(1, 1) // sent, and on its way
	h.recent.hear(said(1, 1, 1))
	h.recent.compare(1, 1)
	if _, known := h.recent.since(0, 0); !known {
		t.Error("a message that was only late counts as lost")
	}
}

// That workers have changed is no change of a run, and still counts as a message.
func TestNoticesOfWorkersAreNoChangesOfRuns(t *testing.T) {
	t.Parallel()
	h := listening()
	r := &h.recent
	r.hear(said(1, 1, 1))
	at := r.seq
	workers := said(1, 2)
	workers.Workers = true
	r.hear(workers)
	if ids, known := r.since(at, 0); !known || len(ids) != 0 {
		t.Errorf("since before the notice: %v, known %t", ids, known)
	}
	r.hear(said(1, 3, 2))
	if ids, known := r.since(at, 0); !known || len(ids) != 1 {
		t.Errorf("since then: %v, known %t; want one run and nothing missed", ids, known)
	}
}
