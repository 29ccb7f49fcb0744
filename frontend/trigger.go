package frontend

import (
	"errors"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// askTrigger asks with which input to start a workflow, or which one.
func (s *site) askTrigger(w http.ResponseWriter, r *http.Request, v visitor) {
	form := pages.TriggerForm{Input: r.URL.Query().Get("input")}
	if err := s.fillTrigger(r, v, r.URL.Query().Get("workflow"), &form); err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section = "runs"
	s.form(w, r, v, http.StatusOK, "Trigger a run", pages.Trigger(v.shell, form))
}

// fillTrigger reads what a form asks for from the workflow, or which workflows there are.
func (s *site) fillTrigger(r *http.Request, v visitor, name string, form *pages.TriggerForm) error {
	if name == "" {
		list, err := s.registry.ListWorkflows(v.call(r), &registryv1.ListWorkflowsRequest{PageSize: workflowsPerPage})
		form.Workflows = list.GetWorkflows()
		return err
	}
	got, err := s.registry.GetWorkflow(v.call(r), &registryv1.GetWorkflowRequest{Name: name})
	if err != nil {
		return err
	}
	form.Workflow = got.GetWorkflow()
	form.Fields = pages.Fields(form.Workflow.GetVersion().GetSpec().GetInputSchemaJson())
	return nil
}

func (s *site) trigger(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "runs"
	form := pages.TriggerForm{Input: r.PostForm.Get("input"), Priority: r.PostForm.Get("priority"), Labels: r.PostForm.Get("labels")}
	if err := s.fillTrigger(r, v, r.PostForm.Get("workflow"), &form); err != nil {
		s.fail(w, r, v, err)
		return
	}
	id, err := s.triggerForm(r, v, form)
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		s.fail(w, r, v, err)
		return
	default:
	}
	if err != nil {
		status, text := s.problem(r, err)
		form.Error = text
		for i := range form.Fields {
			form.Fields[i].Value = r.PostForm.Get("field." + form.Fields[i].Name)
		}
		s.form(w, r, v, status, "Trigger a run", pages.Trigger(v.shell, form))
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "runs", id)), "The run has been triggered.")
}

func (s *site) triggerForm(r *http.Request, v visitor, form pages.TriggerForm) (string, error) {
	if form.Workflow == nil {
		return "", connect.NewError(connect.CodeInvalidArgument, errors.New("choose a workflow first"))
	}
	labels, err := pages.ParseLabels(pages.LabelLines(form.Labels))
	if err != nil {
		return "", connect.NewError(connect.CodeInvalidArgument, err)
	}
	run := &runsv1.NewRun{Workflow: form.Workflow.GetName(), InputJson: form.Input, Labels: labels}
	if form.Input == "" && len(form.Fields) > 0 {
		input, err := pages.Compose(form.Fields, r.PostForm.Get)
		if err != nil {
			return "", connect.NewError(connect.CodeInvalidArgument, err)
		}
		run.InputJson = input
	}
	if form.Priority != "" {
		priority, err := strconv.ParseInt(form.Priority, 10, 32)
		if err != nil {
			return "", connect.NewError(connect.CodeInvalidArgument, errors.New("a priority is a number from 0 to 9"))
		}
		urgent := int32(priority)
		run.Priority = &urgent
	}
	made, err := s.runs.Trigger(v.call(r), &runsv1.TriggerRequest{Run: run})
	return made.GetRunId(), err
}
