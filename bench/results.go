package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/scenario"
)

// record is a kept line: what was printed, and what it was measured on.
type record struct {
	Time    time.Time `json:"time"`
	Commit  string    `json:"commit"`
	Changed bool      `json:"changed"` // the checkout had changes that the commit lacks
	Machine machine   `json:"machine"`
	Repeat  int       `json:"repeat"`
	Scale   float64   `json:"scale"`
	// Modules are the versions of what is measured and measured with.
	Modules  map[string]string `json:"modules"`
	Postgres map[string]string `json:"postgres"`
	figures.Line
	Turns figures.Turns `json:"turns"`
}

type machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	MemoryKiB string `json:"memory_kib"`
	System    string `json:"system"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
}

// openResults returns what appends a line to <results>/<date>-<commit>.jsonl, and what writes other files beside it.
func openResults(ctx context.Context, o options, now time.Time) (keep func(scenario.Result) error, attach func(string, []byte) error, err error) {
	const anyone, readable = 0o755, 0o644
	if err := os.MkdirAll(o.results, anyone); err != nil {
		return nil, nil, err
	}
	base := record{Time: now.UTC().Truncate(time.Second), Commit: git(ctx, "rev-parse", "--short", "HEAD"), Repeat: o.repeat, Scale: o.scale, Machine: thisMachine(), Modules: modules()}
	if base.Commit == "" {
		base.Commit = "unknown"
	}
	base.Changed = git(ctx, "status", "--porcelain") != ""
	path := filepath.Join(o.results, base.Time.Format(time.DateOnly)+"-"+base.Commit)
	attach = func(ending string, content []byte) error { return os.WriteFile(path+"-"+ending, content, readable) }
	return func(r scenario.Result) error {
		kept := base
		kept.Line, kept.Turns, kept.Postgres = r.Line, r.Turns, r.Postgres
		file, err := os.OpenFile(path+".jsonl", os.O_CREATE|os.O_APPEND|os.O_WRONLY, readable)
		if err != nil {
			return fmt.Errorf("keep the results: %w", err)
		}
		encoder := json.NewEncoder(file)
		encoder.SetEscapeHTML(false)
		return errors.Join(encoder.Encode(kept), file.Close())
	}, attach, nil
}

// modules reads the versions of the peer and of the libraries on the way of a task.
func modules() map[string]string {
	out := make(map[string]string)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/riverqueue/river", "connectrpc.com/connect", "github.com/jackc/pgx/v5", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go":
			out[m.Path] = m.Version
		}
	}
	return out
}

// git answers with nothing outside of a checkout.
func git(ctx context.Context, args ...string) string {
	output, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(output))
}

// thisMachine reads what Linux tells; elsewhere the names are empty.
func thisMachine() machine {
	return machine{
		Processor: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), MemoryKiB: strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"),
		System: runtime.GOOS + "/" + runtime.GOARCH, Kernel: kernel(), Go: runtime.Version(),
	}
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// field is the first "name: value" of a file.
func field(path, name string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
