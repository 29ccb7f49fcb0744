package frontend

import (
	"context"
	"net/http"

	"github.com/tenon-run/tenon/frontend/pages"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

const workersPerPage = 50

func (s *site) showWorkers(w http.ResponseWriter, r *http.Request, v visitor) {
	view, err := s.workerList(r, v)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "workers", "Workers"
	s.render(w, r, http.StatusOK, pages.Workers(v.shell, view))
}

func (s *site) workerList(r *http.Request, v visitor) (pages.WorkersView, error) {
	here := r.URL.Query().Get("page_token")
	list, err := s.workers.ListWorkers(v.call(r), &workersv1.ListWorkersRequest{PageSize: workersPerPage, PageToken: here})
	return pages.WorkersView{
		Workers: list.GetWorkers(), Attached: list.GetAttachedWorkers(), Slots: list.GetSlots(), Used: list.GetSlotsUsed(), Next: list.GetNextPageToken(),
		Here: here, Now: s.now(), First: s.firstSteps(r),
	}, err
}

func (s *site) showWorker(w http.ResponseWriter, r *http.Request, v visitor) {
	view, err := s.worker(r, v)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "workers", view.Worker.GetName()
	s.render(w, r, http.StatusOK, pages.Worker(v.shell, view))
}

func (s *site) worker(r *http.Request, v visitor) (pages.WorkerView, error) {
	got, err := s.workers.GetWorker(v.call(r), &workersv1.GetWorkerRequest{WorkerId: r.PathValue("worker")})
	return pages.WorkerView{Worker: got.GetWorker(), Tasks: got.GetTasks(), Now: s.now()}, err
}

// followWorkers sends the list whenever workers have changed.
func (s *site) followWorkers(r *http.Request, v visitor, out *stream) error {
	return latest(r.Context(), out, func(ctx context.Context) error {
		view, err := s.workerList(r, v)
		if err != nil {
			return err
		}
		return out.show(ctx, pages.WorkersBody(v.shell, view))
	}, s.ofWorkers(r, v, ""))
}

func (s *site) followWorker(r *http.Request, v visitor, out *stream) error {
	return latest(r.Context(), out, func(ctx context.Context) error {
		view, err := s.worker(r, v)
		if err != nil {
			return err
		}
		return out.show(ctx, pages.WorkerBody(v.shell, view))
	}, s.ofWorkers(r, v, r.PathValue("worker")))
}

func (s *site) askDrain(w http.ResponseWriter, r *http.Request, v visitor) {
	view, err := s.worker(r, v)
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section = "workers"
	s.form(w, r, v, http.StatusOK, "Drain a worker", pages.DrainWorker(v.shell, view))
}

// steerWorker pauses, resumes or drains a worker.
func (s *site) steerWorker(w http.ResponseWriter, r *http.Request, v visitor) {
	id := r.PathValue("worker")
	var err error
	said := "The worker takes nothing new."
	switch r.PostForm.Get("do") {
	case "resume":
		said = "The worker takes tasks again."
		_, err = s.workers.ResumeWorker(v.call(r), &workersv1.ResumeWorkerRequest{WorkerId: id})
	case "drain":
		said = "The worker finishes what it has and ends."
		_, err = s.workers.DrainWorker(v.call(r), &workersv1.DrainWorkerRequest{WorkerId: id})
	default:
		_, err = s.workers.PauseWorker(v.call(r), &workersv1.PauseWorkerRequest{WorkerId: id})
	}
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "workers", id)), said)
}
