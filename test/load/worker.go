package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	tenon "github.com/tenon-run/tenon/sdk/go"
	"github.com/tenon-run/tenon/test/history"
)

// variable holds the worker's Config, in JSON, and tells a process that it is one.
const variable = "TENON_LOAD_WORKER"

// Config of a worker process.
type Config struct {
	// Name stands with each execution, and is the worker's name.
	Name           string
	Address, Token string
	// Slots is how many tasks run at a time.
	Slots int
	// File is where the executions are appended.
	File string
}

// Worker is a worker in a process of its own.
type Worker struct {
	name    string
	file    string
	cmd     *exec.Cmd
	errors  bytes.Buffer // read after the process has ended
	running atomic.Int64
	killAt  atomic.Int64  // 0: not at all
	told    chan struct{} // closed when everything that the process said has been read
}

// Start starts the test binary again as a worker. It ends by Kill or Stop, at the latest with this process.
func Start(cfg Config) (*Worker, error) {
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", cfg.Name, err)
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", cfg.Name, err)
	}
	w := &Worker{name: cfg.Name, file: cfg.File, cmd: exec.Command(program), told: make(chan struct{})} //nolint:gosec,noctx // this program; ended by Kill or Stop
	w.cmd.Env = append(os.Environ(), variable+"="+string(text))
	w.cmd.Stderr = &w.errors
	if _, err := w.cmd.StdinPipe(); err != nil { // it stays open as long as this process lives
		return nil, fmt.Errorf("start worker %s: %w", cfg.Name, err)
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", cfg.Name, err)
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker %s: %w", cfg.Name, err)
	}
	go w.listen(stdout)
	return w, nil
}

// listen counts the signs that the process gives: one byte when a task begins, another when it ends.
func (w *Worker) listen(stdout io.Reader) {
	defer close(w.told)
	signs := make([]byte, 4096)
	for {
		n, err := stdout.Read(signs)
		begun := int64(bytes.Count(signs[:n], begins))
		running := w.running.Add(2*begun - int64(n))
		if at := w.killAt.Load(); at > 0 && running >= at {
			_ = w.cmd.Process.Kill() // it may be dead already
		}
		if err != nil {
			return
		}
	}
}

//nolint:gochecknoglobals // the two signs
var begins, ends = []byte("+"), []byte("-")

// KillAt ends the process as kill -9 does, as soon as so many tasks begin to run at a time, and tells how many were running in the instant of its end.
func (w *Worker) KillAt(ctx context.Context, running int) (int, error) {
	w.killAt.Store(int64(running))
	select {
	case <-w.told:
	case <-ctx.Done():
		_ = w.cmd.Process.Kill()
		<-w.told
	}
	err := context.Cause(ctx)
	if ended := w.cmd.Wait(); err == nil && w.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL { //nolint:forcetypeassert // os says so
		err = fmt.Errorf("the worker ended by itself: %w: %s", ended, w.errors.String())
	}
	return int(w.running.Load()), err
}

// Kill ends the process as kill -9 does, at once.
func (w *Worker) Kill() error {
	if err := w.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the worker: %w", err)
	}
	<-w.told
	_ = w.cmd.Wait() // the error says that it was killed
	return nil
}

// Running is how many tasks run at the moment, by the signs that have arrived.
func (w *Worker) Running() int { return int(w.running.Load()) }

// Name is the worker's name.
func (w *Worker) Name() string { return w.name }

// File is where the worker appends its executions.
func (w *Worker) File() string { return w.file }

// Stop lets the process finish what it runs. The error holds what it said.
func (w *Worker) Stop() error {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the worker: %w", err)
	}
	<-w.told
	if err := w.cmd.Wait(); err != nil {
		return fmt.Errorf("the worker ended with %w: %s", err, w.errors.String())
	}
	return nil
}

// Main serves as a worker and exits, when Start has started this process; else it does nothing.
func Main() {
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	var cfg Config
	err := json.Unmarshal([]byte(text), &cfg)
	if err == nil {
		err = serve(cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load worker:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(cfg Config) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() { // standard input ends with the process that started this one, however that ended
		_, _ = io.Copy(io.Discard, os.Stdin)
		if ctx.Err() == nil {
			os.Exit(1)
		}
	}()
	log, err := history.OpenLog(cfg.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	client, err := tenon.NewClient(tenon.WithAddress(cfg.Address), tenon.WithToken(cfg.Token),
		tenon.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	begin := func(e history.Execution) error {
		e.Worker, e.At = cfg.Name, time.Now().UnixMicro()
		if err := log.Append(e); err != nil {
			return err
		}
		_, err := os.Stdout.Write(begins)
		return err
	}
	end := func() { _, _ = os.Stdout.Write(ends) } // who does not listen any more has ended
	worker, err := client.NewWorker(tenon.WithWorkerName(cfg.Name), tenon.WithSlots(cfg.Slots), tenon.WithWorkflows(workflow(begin, end)))
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}
