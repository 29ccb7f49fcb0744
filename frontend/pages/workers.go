package pages

import (
	"strings"
	"time"

	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// WorkersView is the tenant's workers at the instant Now: attached ones first, then the others, each newest first.
type WorkersView struct {
	Workers []*workersv1.Worker
	// Attached, Slots and Used are of all workers that are attached.
	Attached, Slots, Used int32
	Next                  string
	// Here is the token of this page; empty is the first.
	Here  string
	Now   time.Time
	First FirstSteps
}

// WorkerView is one worker with what it runs at the instant Now.
type WorkerView struct {
	Worker *workersv1.Worker
	Tasks  []*workersv1.WorkerTask
	Now    time.Time
}

func (v WorkerView) paused() bool {
	return v.Worker.GetStatus() == workersv1.WorkerStatus_WORKER_STATUS_PAUSED
}

// steerable reports whether the worker can still be paused or drained.
func (v WorkerView) steerable() bool {
	return attached(v.Worker) && v.Worker.GetStatus() != workersv1.WorkerStatus_WORKER_STATUS_DRAINING
}

func attached(w *workersv1.Worker) bool { return workerStatus(w).Tone != "idle" }

// language is what a worker is written in: "go 1.26, SDK 0.1". Some name themselves in their versions too.
func language(r *workersv1.Runtime) string {
	var parts []string
	if text := strings.TrimSpace(r.GetLanguage() + " " + strings.TrimPrefix(r.GetLanguageVersion(), r.GetLanguage())); text != "" {
		parts = append(parts, text)
	}
	if r.GetSdkVersion() != "" {
		parts = append(parts, "SDK "+r.GetSdkVersion())
	}
	return strings.Join(parts, ", ")
}

// slotsWidth is how much of a bar of 100 is taken.
func slotsWidth(used, slots int32) string {
	return tenths(100 * float64(min(used, slots)) / float64(max(slots, 1))) //nolint:mnd // of a hundred
}
