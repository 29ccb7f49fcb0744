package checkout

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Without a Go, or with one that is too old, one line says what to install; the scripts run with nothing else on PATH than what they need.
func TestNeedGo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		version string // what `go` prints; empty: there is none
		want    string // of standard error; empty: it succeeds
	}{
		"absent":  {"", `^Go 1\.\d+(\.\d+)? or newer is needed and no go is on PATH; install it from https://go\.dev/dl/\n$`},
		"old":     {"go1.20", `^Go 1\.\d+(\.\d+)? or newer is needed and this is Go 1\.20; install it from https://go\.dev/dl/\n$`},
		"older":   {"go1.9.7", `^Go 1\.\d+(\.\d+)? or newer is needed and this is Go 1\.9\.7; install it from https://go\.dev/dl/\n$`},
		"newer":   {"go1.126.3", ""},
		"another": {"go2.0", ""},
		"tuned":   {"go1.126.3 X:nodwarf5", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(filepath.Join("..", "..", "scripts", "need-go.sh"))
			cmd.Env = []string{"PATH=" + toolsAndGo(t, c.version)}
			var output, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &output, &stderr
			err := cmd.Run()
			if output.Len() > 0 || (err == nil) != (c.want == "") || cmd.ProcessState.ExitCode() > 1 {
				t.Errorf("%v, output %q, error %q", err, &output, &stderr)
			}
			if c.want == "" && stderr.Len() > 0 || c.want != "" && !regexp.MustCompile(c.want).Match(stderr.Bytes()) {
				t.Errorf("it says %q, want %q", &stderr, c.want)
			}
		})
	}
}

// Every command of the Makefile that needs Go says so first, and does nothing else.
func TestMakeWithoutGo(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"dev", "demo", "build", "test", "lint"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			root, err := filepath.Abs(filepath.Join("..", ".."))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("make", "-C", root, "--no-print-directory", target)
			cmd.Env = []string{"PATH=" + toolsAndGo(t, "")}
			var output, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &output, &stderr
			err = cmd.Run()
			want := regexp.MustCompile(`^Go \S+ or newer is needed and no go is on PATH; install it from https://go\.dev/dl/\nmake: \*\*\* .*\n$`)
			if err == nil || output.Len() > 0 || !want.Match(stderr.Bytes()) {
				t.Errorf("%v, output %q, error %q", err, &output, &stderr)
			}
		})
	}
}

// toolsAndGo is a folder with what the script and the Makefile call, and a go that prints a version, or none.
func toolsAndGo(t *testing.T, version string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"sh", "bash", "make", "awk", "dirname", "head", "mkdir", "sed", "sort"} {
		tool, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(tool, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if version != "" {
		script := "#!/bin/sh\necho '" + version + "'\n"
		if err := os.WriteFile(filepath.Join(folder, "go"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
