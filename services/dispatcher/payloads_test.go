package dispatcher

import (
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// payload stores one and returns its reference.
func (h *house) payload(class flow.Class, body string) flow.ID {
	h.t.Helper()
	ref := newID(time.Now())
	_, err := h.pool.Exec(h.t.Context(), "insert into payloads (tenant_id, class, id, body) values ($1, $2, $3, $4)", h.caller.TenantID, class, ref, []byte(body))
	must(h.t, err)
	return ref
}

func (h *house) get(caller Caller, refs ...flow.ID) (*workersv1.GetPayloadsResponse, error) {
	request := &workersv1.GetPayloadsRequest{}
	for _, ref := range refs {
		request.Refs = append(request.Refs, ref[:])
	}
	return h.GetPayloads(h.t.Context(), caller, request)
}

func TestGetPayloadsReadsWhatWasSent(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	input, output, other := h.payload(flow.Standard, `"in"`), h.payload(flow.Standard, `"out"`), h.payload(flow.Standard, `"other"`)
	o := ordered()
	o.Input = &busv1.Payload{Ref: input[:]}
	o.Parents = []*busv1.OrderedParent{{Task: "a", Output: &busv1.Payload{Ref: output[:]}}}
	h.assign(l, o)
	got, err := h.get(h.caller, output, input)
	must(t, err)
	if p := got.GetPayloads(); len(p) != 2 || p[0].GetJson() != `"out"` || p[1].GetJson() != `"in"` {
		t.Errorf("got %v, want both in the order asked for", p)
	}
	for who, call := range map[string]func() (*workersv1.GetPayloadsResponse, error){
		"a reference of nobody's assignment": func() (*workersv1.GetPayloadsResponse, error) { return h.get(h.caller, other) },
		"another token": func() (*workersv1.GetPayloadsResponse, error) {
			return h.get(Caller{h.caller.TenantID, newID(time.Now())}, input)
		},
		"another tenant": func() (*workersv1.GetPayloadsResponse, error) {
			return h.get(Caller{h.tenant("other"), h.caller.TokenID}, input)
		},
	} {
		if _, err := call(); !fault.Is(err, fault.CodeNotFound) {
			t.Errorf("%s: %v, want NotFound", who, err)
		}
	}
	l.report(completed(o, "1"))
	_, err = h.get(h.caller, input)
	wantFault(t, err, fault.CodeNotFound, "")
}

func TestGetPayloadsSendsWhatFits(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	body := `"` + strings.Repeat("p", 12<<20) + `"`
	refs := []flow.ID{h.payload(flow.Short, body), h.payload(flow.Short, body), h.payload(flow.Short, body)}
	o := ordered()
	o.Class = int32(flow.Short)
	for _, ref := range refs {
		o.Parents = append(o.Parents, &busv1.OrderedParent{Output: &busv1.Payload{Ref: ref[:]}})
	}
	h.assign(l, o)
	got, err := h.get(h.caller, refs...)
	must(t, err)
	if len(got.GetPayloads()) != 2 {
		t.Errorf("got %d payloads of 12 MiB in one answer, want 2", len(got.GetPayloads()))
	}
}

func TestGetPayloadsAfterARestartGoesByTheRows(t *testing.T) {
	h := setup(t)
	l := h.listen(h.register(4), 1)
	input := h.payload(flow.Long, `"in"`)
	o := ordered()
	h.assign(l, o)
	h.liveRow(l.worker, o, input)
	h.start()
	h.listen(l.worker, 2, held(o))
	got, err := h.get(h.caller, input)
	must(t, err)
	if len(got.GetPayloads()) != 1 || got.GetPayloads()[0].GetJson() != `"in"` {
		t.Errorf("got %v", got)
	}
}
