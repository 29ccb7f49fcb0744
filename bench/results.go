package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
)

// record is a kept line: what was printed, and what it was measured on.
type record struct {
	Time    time.Time `json:"time"`
	Commit  string    `json:"commit"`
	Changed bool      `json:"changed"` // the checkout had changes that the commit lacks
	Machine machine   `json:"machine"`
	Repeat  int       `json:"repeat"`
	Scale   float64   `json:"scale"`
	figures.Line
	Turns figures.Turns `json:"turns"`
}

type machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	MemoryKiB string `json:"memory_kib"`
	System    string `json:"system"`
	Go        string `json:"go"`
}

// openResults returns what appends a line to <results>/<date>-<commit>.jsonl.
func openResults(ctx context.Context, o options, now time.Time) (func(figures.Line, figures.Turns) error, error) {
	const anyone, readable = 0o755, 0o644
	if err := os.MkdirAll(o.results, anyone); err != nil {
		return nil, err
	}
	base := record{Time: now.UTC().Truncate(time.Second), Commit: git(ctx, "rev-parse", "--short", "HEAD"), Repeat: o.repeat, Scale: o.scale, Machine: thisMachine()}
	if base.Commit == "" {
		base.Commit = "unknown"
	}
	base.Changed = git(ctx, "status", "--porcelain") != ""
	path := filepath.Join(o.results, base.Time.Format(time.DateOnly)+"-"+base.Commit+".jsonl")
	return func(line figures.Line, turns figures.Turns) error {
		kept := base
		kept.Line, kept.Turns = line, turns
		text, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, readable)
		if err != nil {
			return fmt.Errorf("keep the results: %w", err)
		}
		if _, err := file.Write(append(text, '\n')); err != nil {
			_ = file.Close() // the first error tells more
			return err
		}
		return file.Close()
	}, nil
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
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
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
