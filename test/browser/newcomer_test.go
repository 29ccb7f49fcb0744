package browser

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// newcomer is somebody's terminal and editor, in a home of their own: it does what is posted to it, and returns its address. The Go caches are the
// tests' own, as the newcomer's are no longer empty after `make dev`.
func newcomer(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	env := append(os.Environ(), "HOME="+home)
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
		value, err := exec.CommandContext(t.Context(), "go", "env", name).Output() //nolint:gosec // one of two
		must(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	folder := filepath.Join(home, "tenon-hello")
	shell := func(dir, lines string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", lines) //nolint:gosec,noctx // the page's own lines; ended below
		cmd.Dir, cmd.Env = dir, env
		return cmd
	}
	var log bytes.Buffer
	var worker *exec.Cmd
	mux := http.NewServeMux()
	for path, act := range map[string]func(string) error{
		"paste": func(lines string) error {
			if out, err := shell(home, "set -e\n"+lines).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
		"save": func(code string) error { return os.WriteFile(filepath.Join(folder, "main.go"), []byte(code), 0o600) },
		"start": func(lines string) error {
			worker = shell(folder, lines)
			worker.Stdout, worker.Stderr = &log, &log
			worker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C goes to all of it
			return worker.Start()
		},
	} {
		mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = act(string(body))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	control := httptest.NewServer(mux)
	t.Cleanup(func() {
		control.Close()
		if worker == nil {
			return
		}
		must(t, syscall.Kill(-worker.Process.Pid, syscall.SIGINT))
		if err := worker.Wait(); err != nil && !interrupted(err) {
			t.Errorf("the newcomer's worker: %v", err)
		}
		if t.Failed() {
			t.Logf("what the newcomer's worker said:\n%s", log.Bytes())
		}
	})
	return control.URL
}

// interrupted tells of an end by Ctrl-C: `go run` and the shell end by the signal themselves, whatever the worker's own end.
func interrupted(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	const byGo, byShell = 1, 130
	return ok && (status.Signal() == syscall.SIGINT || status.ExitStatus() == byGo || status.ExitStatus() == byShell)
}
