// Package proc runs the bench's other processes: the server under test, and the bench itself in another role, which is asked to do things by lines
// of JSON over its standard input and output. A process ends when its input does, so none outlives the bench.
package proc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tenon-run/tenon/bench/internal/profiling"
	"github.com/tenon-run/tenon/internal/embedded"
)

// RoleVariable names the role in which the bench's own program works as a child.
const RoleVariable = "TENON_BENCH_ROLE"

// maxLine bounds one answer, which may carry samples: 64 MiB.
const maxLine = 64 << 20

// Config says what to start.
type Config struct {
	// Name is shown to people and names the log.
	Name string
	// Program is the executable; empty starts the bench itself. One that is not the bench has no Role.
	Program string
	Role    string
	Args    []string
	Env     []string
	// Folder gets the log, and the profile where one is asked for.
	Folder string
}

// Process is a running child.
type Process struct {
	name    string
	cmd     *exec.Cmd
	role    string
	log     string
	profile string
	input   io.WriteCloser
	answers chan []byte // closed at the end of the child's output
	done    chan struct{}
	err     error // of its end; read after done
	asking  sync.Mutex
	ending  sync.Once
}

// Start starts a child. The caller calls Stop.
func Start(cfg Config) (*Process, error) {
	program := cfg.Program
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		program = self
	}
	p := &Process{
		name: cfg.Name, role: cfg.Role, cmd: exec.Command(program, cfg.Args...), log: filepath.Join(cfg.Folder, cfg.Name+".log"),
		profile: filepath.Join(cfg.Folder, cfg.Name+".pprof"), answers: make(chan []byte, 1), done: make(chan struct{}),
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Env = append(append(plainEnvironment(), profiling.Variable+"="+p.profile, RoleVariable+"="+cfg.Role), cfg.Env...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = embedded.ChildAttributes()
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		// The death signal follows the thread that started the child: it has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.read(output)
			p.err = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the %s: %w", p.name, err)
	}
	return p, nil
}

// plainEnvironment is this process's without Tenon's variables: whoever has set some must not measure another configuration than the default.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "TENON_") })
}

func (p *Process) read(output io.Reader) {
	defer close(p.answers)
	if p.role == "" {
		_, _ = io.Copy(io.Discard, output) // it answers no questions
		return
	}
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		p.answers <- append([]byte(nil), lines.Bytes()...)
	}
	_, _ = io.Copy(io.Discard, output) // after a line too long, so that the child can end
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Name is what the child is called.
func (p *Process) Name() string { return p.name }

type question struct {
	Do   string          `json:"do"`
	Args json.RawMessage `json:"args"`
}

type answer struct {
	OK    json.RawMessage `json:"ok,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Ask has the child do something and waits for its answer, which is decoded into answer unless that is nil. One question at a time. When ctx ends
// before the answer, the child is stopped: what it answers later would be taken for another's.
func (p *Process) Ask(ctx context.Context, do string, args, into any) error {
	p.asking.Lock()
	defer p.asking.Unlock()
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	line, err := json.Marshal(question{Do: do, Args: text})
	if err != nil {
		return err
	}
	if _, err := p.input.Write(append(line, '\n')); err != nil {
		return p.failure(do, err)
	}
	select {
	case text, open := <-p.answers:
		if !open {
			return p.failure(do, errors.New("it has ended"))
		}
		var got answer
		if err := json.Unmarshal(text, &got); err != nil {
			return p.failure(do, err)
		}
		if got.Error != "" {
			return p.failure(do, errors.New(got.Error))
		}
		if into == nil {
			return nil
		}
		return json.Unmarshal(got.OK, into)
	case <-ctx.Done():
		_ = p.cmd.Process.Kill() // gone already is as good
		return p.failure(do, context.Cause(ctx))
	}
}

// failure adds the end of the child's log.
func (p *Process) failure(do string, err error) error {
	return fmt.Errorf("%s: %s: %w\n%s", p.name, do, err, p.LogTail())
}

// LogTail is the end of what the child has logged.
func (p *Process) LogTail() string {
	const most = 4000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ToggleProfile begins or ends a CPU profile of the child.
func (p *Process) ToggleProfile() error { return p.cmd.Process.Signal(syscall.SIGUSR1) }

// TakeProfile moves the profile that has just been ended to a file, once it is complete.
func (p *Process) TakeProfile(ctx context.Context, path string) error {
	const pause = 20 * time.Millisecond
	for {
		err := os.Rename(p.profile, path)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.done:
			return fmt.Errorf("the %s ended before its profile was written", p.name)
		case <-time.After(pause):
		}
	}
}

// Kill ends the child as kill -9 does, and returns when it is gone. Stop does nothing after it.
func (p *Process) Kill() {
	p.ending.Do(func() {
		_ = p.cmd.Process.Kill() // gone already is as good
		_ = p.input.Close()      // as above
		for range p.answers {    //nolint:revive // drained, so that the reader ends
		}
		<-p.done
	})
}

// Log is the file with what the child has logged.
func (p *Process) Log() string { return p.log }

// Stop ends the child: a role by the end of its input, anything else by SIGTERM, by force when it takes too long.
func (p *Process) Stop() error {
	const patience = 20 * time.Second
	var err error
	p.ending.Do(func() {
		_ = p.input.Close() // gone already is as good
		if p.role == "" {
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // as above
		}
		timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		defer timer.Stop()
		for range p.answers { //nolint:revive // drained, so that the reader ends
		}
		<-p.done
		if p.err != nil {
			err = fmt.Errorf("the %s ended badly: %w\n%s", p.name, p.err, p.LogTail())
		}
	})
	return err
}
