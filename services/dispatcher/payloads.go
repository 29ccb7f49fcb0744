package dispatcher

import (
	"context"
	"fmt"

	"github.com/tenon-run/tenon/db/dispatcherq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// storeBatch is how many bytes of outputs one statement stores.
const storeBatch = 4 << 20

// storeOutputs writes large outputs to the payload table and puts references into their items. A worker that sends a result again leaves an
// orphan there, which goes with its partition.
func (s *Service) storeOutputs(ctx context.Context, w *worker, items []*reportItem) error {
	var large []*reportItem
	for _, item := range items {
		if item.large != "" {
			large = append(large, item)
		}
	}
	if len(large) == 0 {
		return nil
	}
	if err := s.findClasses(ctx, w, large); err != nil {
		return err
	}
	for len(large) > 0 {
		rows := dispatcherq.InsertPayloadsParams{TenantID: w.tenant}
		part, size := 0, 0
		for part < len(large) && (part == 0 || size+len(large[part].large) <= storeBatch) {
			item := large[part]
			ref := newID(s.cfg.Now())
			rows.Classes, rows.Ids, rows.Bodies = append(rows.Classes, item.class), append(rows.Ids, ref), append(rows.Bodies, []byte(item.large))
			item.item.Output.Ref = ref[:]
			size += len(item.large)
			part++
		}
		if err := s.queries.InsertPayloads(ctx, rows); err != nil {
			return pg.Fault(err)
		}
		large = large[part:]
	}
	return nil
}

// findClasses looks up the retention class of runs that this process has sent nothing of. A run that is not open takes no output any more:
// what is stored for it is an orphan, in whichever class.
func (s *Service) findClasses(ctx context.Context, w *worker, items []*reportItem) error {
	var runs []flow.ID
	for _, item := range items {
		if item.class == 0 {
			runs = append(runs, id(item.item.GetRunId()))
		}
	}
	if len(runs) == 0 {
		return nil
	}
	rows, err := s.queries.RunClasses(ctx, dispatcherq.RunClassesParams{TenantID: w.tenant, RunIds: runs})
	if err != nil {
		return pg.Fault(err)
	}
	classes := make(map[flow.ID]int16, len(rows))
	for _, row := range rows {
		classes[row.RunID] = row.Class
	}
	for _, item := range items {
		if item.class == 0 {
			item.class = classes[id(item.item.GetRunId())]
		}
		if item.class == 0 {
			item.class = int16(flow.Short)
		}
	}
	return nil
}

// GetPayloads reads payloads that were sent by reference in an unfinished assignment of a worker that listens with the caller's token. As
// many as fit into one answer come back, in order, at least one. Any other reference is NotFound, existing or not.
func (s *Service) GetPayloads(ctx context.Context, caller Caller, request *workersv1.GetPayloadsRequest) (*workersv1.GetPayloadsResponse, error) {
	refs := make([]flow.ID, len(request.GetRefs()))
	for i, raw := range request.GetRefs() {
		ref, err := flow.IDFromBytes(raw)
		if err != nil || ref.IsZero() {
			return nil, fault.InvalidField(fmt.Sprintf("refs[%d]", i), "must be the 16 bytes that the assignment came with")
		}
		refs[i] = ref
	}
	classes, err := s.allowedRefs(ctx, caller, refs)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if classes[ref] == 0 {
			return nil, fault.NotFound("payload", ref.String())
		}
	}
	return s.readPayloads(ctx, caller.TenantID, refs, classes)
}

// readPayloads asks for the sizes first, so that no more is read than is sent.
func (s *Service) readPayloads(ctx context.Context, tenantID int64, refs []flow.ID, classes map[flow.ID]int16) (*workersv1.GetPayloadsResponse, error) {
	among := make(map[int16]bool)
	var classList []int16
	for _, class := range classes {
		if !among[class] {
			among[class] = true
			classList = append(classList, class)
		}
	}
	sizes, err := s.queries.PayloadSizes(ctx, dispatcherq.PayloadSizesParams{TenantID: tenantID, Classes: classList, Ids: refs})
	if err != nil {
		return nil, pg.Fault(err)
	}
	sizeOf := make(map[flow.ID]int64, len(sizes))
	for _, row := range sizes {
		sizeOf[row.ID] = row.Size
	}
	var total int64
	count := 0
	for _, ref := range refs {
		size, exists := sizeOf[ref]
		if !exists {
			return nil, fault.NotFound("payload", ref.String())
		}
		if total += size + 32; count > 0 && total > MaxAnswer {
			break
		}
		count++
	}
	bodies, err := s.queries.PayloadBodies(ctx, dispatcherq.PayloadBodiesParams{TenantID: tenantID, Classes: classList, Ids: refs[:count]})
	if err != nil {
		return nil, pg.Fault(err)
	}
	bodyOf := make(map[flow.ID][]byte, len(bodies))
	for _, row := range bodies {
		bodyOf[row.ID] = row.Body
	}
	response := &workersv1.GetPayloadsResponse{}
	for _, ref := range refs[:count] {
		response.Payloads = append(response.Payloads, &workersv1.Payload{Ref: ref[:], Json: string(bodyOf[ref])})
	}
	return response, nil
}

// allowedRefs finds the classes of the references that the caller's workers may read now. Assignments that came along from before this
// process count as far as the database has them recorded.
func (s *Service) allowedRefs(ctx context.Context, caller Caller, refs []flow.ID) (map[flow.ID]int16, error) {
	classes := make(map[flow.ID]int16, len(refs))
	wanted := make(map[flow.ID]bool, len(refs))
	for _, ref := range refs {
		wanted[ref] = true
	}
	var lookups []dispatcherq.RecordedRefsParams
	for _, w := range s.workersOf(caller.TenantID) {
		lookup := dispatcherq.RecordedRefsParams{TenantID: w.tenant, WorkerID: w.id, Refs: refs}
		w.mu.Lock()
		if w.token == caller.TokenID {
			for _, a := range w.sent {
				for _, ref := range a.refs {
					if wanted[ref] {
						classes[ref] = a.class
					}
				}
				if a.brought {
					lookup.RunIds, lookup.AssignmentIds = append(lookup.RunIds, a.run), append(lookup.AssignmentIds, a.id)
				}
			}
		}
		w.mu.Unlock()
		if len(lookup.RunIds) > 0 {
			lookups = append(lookups, lookup)
		}
	}
	if len(classes) == len(wanted) {
		return classes, nil
	}
	for _, lookup := range lookups {
		rows, err := s.queries.RecordedRefs(ctx, lookup)
		if err != nil {
			return nil, pg.Fault(err)
		}
		for _, row := range rows {
			for _, ref := range []flow.ID{row.InputRef, row.OutputRef} {
				if wanted[ref] {
					classes[ref] = row.Class
				}
			}
		}
	}
	return classes, nil
}
