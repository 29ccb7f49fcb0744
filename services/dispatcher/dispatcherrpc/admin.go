package dispatcherrpc

import (
	"context"
	"encoding/base64"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	"github.com/tenon-run/tenon/proto/typeid"
	"github.com/tenon-run/tenon/services/dispatcher"
)

// admin implements WorkerAdminService.
type admin struct{ workers }

var _ workersv1connect.WorkerAdminServiceHandler = (*admin)(nil)

const (
	defaultPage   = 50
	listedActions = 20
)

// ListWorkers implements WorkerAdminService.
func (a *admin) ListWorkers(ctx context.Context, request *workersv1.ListWorkersRequest) (*workersv1.ListWorkersResponse, error) {
	page, err := parsePage(request.GetPageToken())
	if err != nil {
		return nil, err
	}
	page.AttachedOnly, page.PageSize = request.GetAttachedOnly(), int(request.GetPageSize())
	if page.PageSize == 0 {
		page.PageSize = defaultPage
	}
	list, err := a.svc.ListWorkers(ctx, caller(ctx), page)
	if err != nil {
		return nil, err
	}
	out := &workersv1.ListWorkersResponse{AttachedWorkers: int32(list.Attached), Slots: list.Slots, SlotsUsed: list.SlotsTaken} //nolint:gosec // at most 4,000
	now := time.Now()
	for i := range list.Workers {
		out.Workers = append(out.Workers, listedWorker(&list.Workers[i], now))
	}
	if list.Next != nil {
		out.NextPageToken = pageToken(list.Next)
	}
	return out, nil
}

// GetWorker implements WorkerAdminService.
func (a *admin) GetWorker(ctx context.Context, request *workersv1.GetWorkerRequest) (*workersv1.GetWorkerResponse, error) {
	info, err := a.svc.GetWorker(ctx, caller(ctx), request.GetWorkerId())
	if err != nil {
		return nil, err
	}
	out := &workersv1.GetWorkerResponse{Worker: wireWorker(info, time.Now())}
	for _, h := range info.Live.GetHeld() {
		task := &workersv1.WorkerTask{
			Workflow: h.GetWorkflow(), Task: h.GetTask(), Attempt: h.GetAttempt(), Status: taskStatus(h.GetStatus()), QueueTime: micro(h.GetQueueTime()),
			StartTime: micro(h.GetStartTime()),
		}
		if id, err := flow.IDFromBytes(h.GetRunId()); err == nil {
			task.RunId = typeid.Format(typeid.Run, id)
		}
		out.Tasks = append(out.Tasks, task)
	}
	return out, nil
}

// WatchWorkers implements WorkerAdminService.
func (a *admin) WatchWorkers(ctx context.Context, request *workersv1.WatchWorkersRequest, stream *connect.ServerStream[workersv1.WatchWorkersResponse]) error {
	return a.svc.WatchWorkers(ctx, caller(ctx), request.GetWorkerId(), func(said dispatcher.WorkerChanges) error {
		out := &workersv1.WatchWorkersResponse{Reset_: said.Reset}
		if !said.Reset && len(said.Workers) == 0 {
			return stream.Send(out)
		}
		if request.GetWorkerId() == "" {
			out.AttachedWorkers, out.Slots, out.SlotsUsed = int32(said.Attached), said.Slots, said.SlotsTaken //nolint:gosec // at most 4,000
		}
		now := time.Now()
		for i := range said.Workers {
			out.Workers = append(out.Workers, listedWorker(&said.Workers[i], now))
		}
		return stream.Send(out)
	})
}

// PauseWorker implements WorkerAdminService.
func (a *admin) PauseWorker(ctx context.Context, request *workersv1.PauseWorkerRequest) (*workersv1.PauseWorkerResponse, error) {
	if there, out := a.holderAdmin(ctx, request.GetWorkerId()); there != nil {
		return there.PauseWorker(out, request)
	}
	return &workersv1.PauseWorkerResponse{}, a.svc.Pause(ctx, caller(ctx), request.GetWorkerId(), true)
}

// ResumeWorker implements WorkerAdminService.
func (a *admin) ResumeWorker(ctx context.Context, request *workersv1.ResumeWorkerRequest) (*workersv1.ResumeWorkerResponse, error) {
	if there, out := a.holderAdmin(ctx, request.GetWorkerId()); there != nil {
		return there.ResumeWorker(out, request)
	}
	return &workersv1.ResumeWorkerResponse{}, a.svc.Pause(ctx, caller(ctx), request.GetWorkerId(), false)
}

// DrainWorker implements WorkerAdminService.
func (a *admin) DrainWorker(ctx context.Context, request *workersv1.DrainWorkerRequest) (*workersv1.DrainWorkerResponse, error) {
	if there, out := a.holderAdmin(ctx, request.GetWorkerId()); there != nil {
		return there.DrainWorker(out, request)
	}
	return &workersv1.DrainWorkerResponse{}, a.svc.Drain(ctx, caller(ctx), request.GetWorkerId())
}

// listedWorker is a worker among others, with the first of its actions.
func listedWorker(info *dispatcher.WorkerInfo, now time.Time) *workersv1.Worker {
	w := wireWorker(info, now)
	w.Actions = w.GetActions()[:min(len(w.GetActions()), listedActions)]
	return w
}

func wireWorker(info *dispatcher.WorkerInfo, now time.Time) *workersv1.Worker {
	row, live := &info.Row, info.Live
	out := &workersv1.Worker{
		Id: typeid.Format(typeid.Worker, row.ID), Name: row.Name, Actions: row.Actions, ActionCount: int32(len(row.Actions)), Queues: row.Queues, //nolint:gosec // at most 3,000
		Runtime: &workersv1.Runtime{
			Language: row.Language, LanguageVersion: row.LanguageVersion, SdkVersion: row.SdkVersion, Os: row.Os, Host: row.Host, Pid: row.Pid,
		},
		Slots: row.Slots, SlotsUsed: live.GetSlotsUsed(), Assignments: live.GetAssignments(), RegisterTime: timestamppb.New(row.CreatedAt),
		SessionTime: micro(row.OpenedAt), Status: status(live),
	}
	switch {
	case live.GetLost():
		out.LastSeenTime = micro(live.GetLostTime())
	case live != nil:
		out.LastSeenTime = timestamppb.New(now)
	case row.ClosedAt > 0:
		out.LastSeenTime = micro(row.ClosedAt)
	case row.OpenedAt > 0:
		out.LastSeenTime = micro(row.OpenedAt)
	default:
		out.LastSeenTime = out.GetRegisterTime()
	}
	return out
}

func status(live *busv1.SurveyedWorker) workersv1.WorkerStatus {
	switch {
	case live == nil:
		return workersv1.WorkerStatus_WORKER_STATUS_GONE
	case live.GetLost():
		return workersv1.WorkerStatus_WORKER_STATUS_LOST
	case live.GetDraining():
		return workersv1.WorkerStatus_WORKER_STATUS_DRAINING
	case live.GetPaused():
		return workersv1.WorkerStatus_WORKER_STATUS_PAUSED
	default:
		return workersv1.WorkerStatus_WORKER_STATUS_CONNECTED
	}
}

func taskStatus(state string) runsv1.TaskStatus {
	for i, s := range flow.TaskStates() {
		if string(s) == state {
			return runsv1.TaskStatus(i + 1) //nolint:gosec // the enum follows the table's order
		}
	}
	return runsv1.TaskStatus_TASK_STATUS_UNSPECIFIED
}

func micro(us int64) *timestamppb.Timestamp {
	if us == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMicro(us))
}

// A page token says which part of the list goes on, and behind which worker.
func pageToken(p *dispatcher.WorkerPage) string {
	part := byte('a')
	if p.Others {
		part = 'o'
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{part}, p.Before[:]...))
}

func parsePage(token string) (dispatcher.WorkerPage, error) {
	if token == "" {
		return dispatcher.WorkerPage{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 1+len(flow.ID{}) || b[0] != 'a' && b[0] != 'o' {
		return dispatcher.WorkerPage{}, fault.InvalidField("page_token", "this is no token of this list: send next_page_token of the page before as it came")
	}
	return dispatcher.WorkerPage{Others: b[0] == 'o', Before: flow.ID(b[1:])}, nil
}
