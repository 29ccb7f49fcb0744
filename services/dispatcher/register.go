package dispatcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/db/dispatcherq"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/pg"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// maxActionBytes bounds the names of a worker's actions and queues together, so that they fit into the message that opens a session.
const maxActionBytes = 192 << 10

// ReasonUnknownAction is given when a worker registers a task that no version of the workflow has.
const ReasonUnknownAction = "UNKNOWN_ACTION"

// Register records a worker. Every action must be a task of some version of an existing workflow; each that is not is named with its path.
func (s *Service) Register(ctx context.Context, caller Caller, request *workersv1.RegisterRequest) (*workersv1.RegisterResponse, error) {
	if err := checkRegistration(request); err != nil {
		return nil, err
	}
	if err := s.checkActions(ctx, caller.TenantID, request.GetActions()); err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	runtime := request.GetRuntime()
	w := &worker{
		tenant: caller.TenantID, id: newID(now), actions: distinct(request.GetActions()), queues: distinct(request.GetQueues()), slots: request.GetSlots(),
		token: caller.TokenID, heard: now, touched: now, sent: make(map[flow.ID]*assignment),
	}
	name := request.GetName()
	if name == "" {
		name = cutBytes(runtime.GetHost(), 100)
	}
	if name == "" {
		name = "worker"
	}
	err := s.queries.InsertWorker(ctx, dispatcherq.InsertWorkerParams{
		TenantID: w.tenant, ID: w.id, Name: name, Actions: w.actions, Queues: w.queues, Slots: w.slots, Language: runtime.GetLanguage(),
		LanguageVersion: runtime.GetLanguageVersion(), SdkVersion: runtime.GetSdkVersion(), Os: runtime.GetOs(), Host: runtime.GetHost(),
		Pid: runtime.GetPid(), TokenID: w.token,
	})
	if err != nil {
		return nil, pg.Fault(err)
	}
	s.keep(w)
	s.cfg.Log.Info("dispatcher: worker registered", "tenant", w.tenant, "worker", w.publicID(), "name", name, "slots", w.slots, "actions", len(w.actions))
	return &workersv1.RegisterResponse{
		WorkerId: w.publicID(), HeartbeatInterval: durationpb.New(s.cfg.HeartbeatInterval), Grace: durationpb.New(s.cfg.Grace), PayloadLimit: s.cfg.PayloadLimit,
	}, nil
}

// checkRegistration finds what the message's own rules cannot say.
func checkRegistration(request *workersv1.RegisterRequest) error {
	if request.GetSlots() < 1 || request.GetSlots() > MaxHeld {
		return fault.InvalidField("slots", "must be 1 to %d", MaxHeld)
	}
	if len(request.GetActions()) == 0 {
		return fault.InvalidField("actions", "must name at least one workflow/task")
	}
	size := 0
	for _, text := range slices.Concat(request.GetActions(), request.GetQueues()) {
		size += len(text)
	}
	if size > maxActionBytes {
		return fault.InvalidField("actions",
			"actions and queues have %d bytes together, at most %d are taken: share them among several workers", size, maxActionBytes)
	}
	runtime := request.GetRuntime()
	for path, text := range map[string]string{
		"name": request.GetName(), "queues": strings.Join(request.GetQueues(), ""), "runtime.language": runtime.GetLanguage(),
		"runtime.language_version": runtime.GetLanguageVersion(), "runtime.sdk_version": runtime.GetSdkVersion(),
		"runtime.os": runtime.GetOs(), "runtime.host": runtime.GetHost(),
	} {
		if strings.ContainsRune(text, 0) {
			return fault.InvalidField(path, "must not contain a NUL byte")
		}
	}
	return nil
}

// checkActions looks among the newest versions first; the older ones are read only for what is missing there.
func (s *Service) checkActions(ctx context.Context, tenantID int64, actions []string) error {
	known := make(map[string]bool)
	newest, err := s.queries.NewestWorkflows(ctx, dispatcherq.NewestWorkflowsParams{TenantID: tenantID, Names: workflowsOf(actions, known)})
	if err != nil {
		return pg.Fault(err)
	}
	for _, row := range newest {
		err = errors.Join(err, addActions(known, row.Name, row.Spec))
	}
	if missing := workflowsOf(actions, known); len(missing) > 0 && err == nil {
		older, queryErr := s.queries.OlderWorkflows(ctx, dispatcherq.OlderWorkflowsParams{TenantID: tenantID, Names: missing})
		if queryErr != nil {
			return pg.Fault(queryErr)
		}
		for _, row := range older {
			err = errors.Join(err, addActions(known, row.Name, row.Spec))
		}
	}
	if err != nil {
		return err
	}
	var fields []fault.Field
	for i, action := range actions {
		if !known[action] {
			fields = append(fields, fault.Field{
				Path:    fmt.Sprintf("actions[%d]", i),
				Message: fmt.Sprintf("there is no workflow with a task %q: put the workflow first, or correct the name", action),
			})
		}
	}
	if len(fields) > 0 {
		return fault.Invalid(ReasonUnknownAction, "the worker names actions that do not exist", fields...)
	}
	return nil
}

// workflowsOf lists the workflows of the actions that are not known yet.
func workflowsOf(actions []string, known map[string]bool) []string {
	var names []string
	for _, action := range actions {
		if !known[action] {
			workflow, _, _ := strings.Cut(action, "/")
			names = append(names, workflow)
		}
	}
	return distinct(names)
}

func addActions(known map[string]bool, workflow string, spec []byte) error {
	var declared registryv1.WorkflowSpec
	if err := proto.Unmarshal(spec, &declared); err != nil {
		return fault.Internal(err, "decode the stored workflow %s", workflow)
	}
	for _, task := range declared.GetTasks() {
		known[flow.ActionName(workflow, task.GetName())] = true
	}
	return nil
}

// distinct sorts and drops doubles; the result is never nil, as Postgres would take that for NULL.
func distinct(list []string) []string {
	sorted := append(make([]string, 0, len(list)), list...)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// newID makes a UUIDv7 of an instant.
func newID(now time.Time) flow.ID {
	var entropy [10]byte
	_, _ = rand.Read(entropy[:]) // Never fails: it ends the process instead.
	return flow.MakeID(now.UnixMilli(), entropy)
}
