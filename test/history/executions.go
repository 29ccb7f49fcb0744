package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Execution is one line of a worker's file: a task's code has begun.
type Execution struct {
	Run        string `json:"run"`
	Worker     string `json:"worker"`
	Generation int    `json:"generation"`
	Attempt    int    `json:"attempt"`
	// At is when the code began, by the worker's clock, in microseconds since 1970; 0 when the worker does not say.
	At int64 `json:"at,omitempty"`
}

// Log is the file that a worker appends its executions to. Each line is one write, so that it is there after a kill -9.
type Log struct{ file *os.File }

// OpenLog opens or makes the file of one worker.
func OpenLog(path string) (*Log, error) {
	file, err := openAppend(path)
	if err != nil {
		return nil, fmt.Errorf("open the log of executions: %w", err)
	}
	return &Log{file: file}, nil
}

func openAppend(path string) (*os.File, error) {
	const mine = 0o600
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, mine) //nolint:gosec,wrapcheck // the caller's own file; callers say what it is
}

// Append writes one execution; it may be called from any goroutine.
func (l *Log) Append(e Execution) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("log an execution of run %s: %w", e.Run, err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("log an execution of run %s: %w", e.Run, err)
	}
	return nil
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() } //nolint:wrapcheck // it names the file

// ReadExecutions reads the files of workers. A worker that never ran a task has none.
func ReadExecutions(paths ...string) ([]Execution, error) {
	var out []Execution
	for _, path := range paths {
		file, err := os.Open(path) //nolint:gosec // the caller's own file
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read executions: %w", err)
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var e Execution
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				return nil, errors.Join(fmt.Errorf("read executions: %s holds %q: %w", path, lines.Text(), err), file.Close())
			}
			out = append(out, e)
		}
		if err := errors.Join(lines.Err(), file.Close()); err != nil {
			return nil, fmt.Errorf("read executions: %w", err)
		}
	}
	return out, nil
}
