package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/tenon-run/tenon/db/schedulerq"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler/engine"
)

// encodeLabels is how labels stand in a run's row: a JSON object with sorted keys, or nothing.
func encodeLabels(labels map[string]string) []byte {
	if len(labels) == 0 {
		return nil
	}
	out, _ := json.Marshal(labels) // texts always encode, and a map's keys are sorted
	return out
}

func decodeLabels(b []byte) map[string]string {
	if b == nil {
		return nil
	}
	var labels map[string]string
	if json.Unmarshal(b, &labels) != nil {
		return nil // nobody but encodeLabels writes them
	}
	return labels
}

// carries tells whether a run has all the wanted labels.
func carries(labels []byte, wanted map[string]string) bool {
	if len(wanted) == 0 {
		return true
	}
	have := decodeLabels(labels)
	for key, value := range wanted {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// Labels are what the run was triggered with.
func (v *RunView) Labels() map[string]string { return decodeLabels(v.Top().Labels) }

// labelsParams are the rows by which new runs are found by their labels. Those of a replayed run are there already.
func labelsParams(rows []*engine.Row) (p schedulerq.InsertRunLabelsParams) {
	for _, r := range rows {
		labels := decodeLabels(r.Labels)
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			p.TenantIds, p.Classes, p.RunIds = append(p.TenantIds, r.Tenant), append(p.Classes, int16(r.Class)), append(p.RunIds, r.ID)
			p.Keys, p.Values = append(p.Keys, key), append(p.Values, labels[key])
		}
	}
	return p
}

// labelsColumn is the labels of rows; nil where none of them has any.
func labelsColumn(rows []*engine.Row) [][]byte {
	if !slices.ContainsFunc(rows, func(r *engine.Row) bool { return r.Labels != nil }) {
		return nil
	}
	return column(rows, func(r *engine.Row) []byte { return r.Labels })
}

// What a page of labelled runs looks through at most: its rounds, and the candidates of one.
const (
	labelRounds = 6
	labelWidth  = 1000
)

// readLabelled looks through candidates in rounds, newest first: the runs with one of the labels, or those of the state and the workflow that are asked
// for. Each round takes whichever are the rarest just there, so that a few labelled runs are found among many failures, and a few failures under a label that
// most runs have. When several rounds find too little, the page stays short.
func (p *page) readLabelled(ctx context.Context, q *schedulerq.Queries) error {
	at, width := p.before, p.size
	for range labelRounds {
		round, err := p.rarest(ctx, q, at, width)
		if err != nil {
			return err
		}
		for _, r := range round.merged() {
			if p.fits(&r) {
				p.rows = append(p.rows, r)
			}
		}
		p.more, p.lowest = round.more, round.lowest
		if !p.more || len(p.rows) >= int(p.size) {
			return nil
		}
		at, width = round.lowest, max(p.size, min(width*4, labelWidth))
	}
	return nil
}

// rarest reads candidates below an id from where the same number of them reaches furthest back.
func (p *page) rarest(ctx context.Context, q *schedulerq.Queries, at flow.ID, width int32) (*page, error) {
	round := *p
	round.rows, round.more, round.lowest, round.before, round.size = nil, false, flow.ID{}, at, width
	var ids []flow.ID
	for i, key := range slices.Sorted(maps.Keys(p.labels)) {
		these, err := q.LabelledIDs(ctx, schedulerq.LabelledIDsParams{
			TenantID: p.tenant, Key: key, Value: p.labels[key], BeforeID: at, FromID: p.from, PageSize: width,
		})
		if err != nil {
			return nil, err
		}
		if i == 0 || rarer(these, ids) {
			ids = these
		}
	}
	if len(ids) == int(width) && (p.workflow != 0 || p.byState) {
		if err := round.readPlaces(ctx, q); err != nil {
			return nil, err
		}
		if last := ids[len(ids)-1]; !round.more || bytes.Compare(round.lowest[:], last[:]) < 0 {
			return &round, nil
		}
		round.rows, round.more, round.lowest = nil, false, flow.ID{}
	}
	return &round, round.readNamed(ctx, q, ids)
}

// rarer compares two lists of the newest ids of their kinds that may both be cut short at the same length: the shorter one is whole, and of two that are as
// long the one that reaches further back is of the rarer kind.
func rarer(a, b []flow.ID) bool {
	if len(a) != len(b) || len(a) == 0 {
		return len(a) < len(b)
	}
	return bytes.Compare(a[len(a)-1][:], b[len(b)-1][:]) < 0
}
