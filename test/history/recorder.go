package history

import (
	"sync"
)

// Recorder keeps what a client sent and heard. Its methods may be called from any goroutine.
type Recorder struct {
	mu   sync.Mutex
	runs map[string]*told // by run id
}

// told is what a client knows of one run.
type told struct {
	want         string // the output that follows from the input, as JSON
	acknowledged bool
	results      []string // outputs that were seen
}

// NewRecorder returns an empty one.
func NewRecorder() *Recorder { return &Recorder{runs: make(map[string]*told)} }

// Sent notes a run before it is triggered, with the JSON of the output that it must have. A call that fails may have started it all the same.
func (r *Recorder) Sent(id, want string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[id] = &told{want: want}
}

// Acknowledged notes that the server said the run is stored. From here on it must not be lost.
func (r *Recorder) Acknowledged(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[id].acknowledged = true
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

func (r *Recorder) all() map[string]told {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]told, len(r.runs))
	for id, run := range r.runs {
		out[id] = *run
	}
	return out
}
