package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Recorder keeps what a client sent and heard. Its methods may be called from any goroutine.
type Recorder struct {
	mu   sync.Mutex
	runs map[string]*told // by run id
	file *os.File         // nil: memory alone
}

// told is what a client knows of one run.
type told struct {
	sent         time.Time
	input, want  string // as JSON; the output follows from the input
	acknowledged bool
	results      []string // outputs that were seen
}

// NewRecorder returns an empty one.
func NewRecorder() *Recorder { return &Recorder{runs: make(map[string]*told)} }

// OpenRecorder returns an empty one that writes every acknowledgement into a file too, on the disk before Acknowledged returns: whatever becomes of
// this process, the file says what the server has promised. Close it at the end.
func OpenRecorder(path string) (*Recorder, error) {
	file, err := openAppend(path)
	if err != nil {
		return nil, fmt.Errorf("open the log of acknowledgements: %w", err)
	}
	r := NewRecorder()
	r.file = file
	return r, nil
}

// Close closes the file of OpenRecorder.
func (r *Recorder) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close() //nolint:wrapcheck // it names the file
}

// Sent notes a run before it is triggered, with the JSON of its input and of the output that it must have. A call that fails may have started it all
// the same.
func (r *Recorder) Sent(id, input, want string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[id] = &told{sent: time.Now(), input: input, want: want}
}

// Acknowledged notes that the server said the runs are stored. From here on they must not be lost. The error is of the file.
func (r *Recorder) Acknowledged(ids ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []byte
	for _, id := range ids {
		r.runs[id].acknowledged = true
		line, err := json.Marshal(map[string]string{"run": id, "input": r.runs[id].input})
		if err != nil {
			return fmt.Errorf("log the acknowledgement of run %s: %w", id, err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if r.file == nil || len(ids) == 0 {
		return nil
	}
	_, err := r.file.Write(lines)
	if err := errors.Join(err, r.file.Sync()); err != nil {
		return fmt.Errorf("log %d acknowledgements: %w", len(ids), err)
	}
	return nil
}

// Result notes an output that a reader was given as final.
func (r *Recorder) Result(id, output string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[id].results = append(r.runs[id].results, output)
}

// Acknowledgements counts the runs that were acknowledged so far.
func (r *Recorder) Acknowledgements() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, run := range r.runs {
		if run.acknowledged {
			n++
		}
	}
	return n
}

// Open lists the acknowledged runs whose result has not been seen yet.
func (r *Recorder) Open() []string {
	return r.list(func(run *told) bool { return run.acknowledged && len(run.results) == 0 })
}

// SentAfter lists the runs that were sent, for the first time, after an instant.
func (r *Recorder) SentAfter(instant time.Time) []string {
	return r.list(func(run *told) bool { return run.sent.After(instant) })
}

func (r *Recorder) list(which func(*told) bool) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, run := range r.runs {
		if which(run) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *Recorder) all() map[string]told {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]told, len(r.runs))
	for id, run := range r.runs {
		out[id] = *run
	}
	return out
}
