package infra_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOperationsRun follows docs/operations.md: every block of shell, in order, on a Postgres of its own and on free ports.
func TestOperationsRun(t *testing.T) {
	t.Parallel()
	text := read(t, "../docs/operations.md")
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		script.WriteString(block[1])
	}
	blocks := strings.ReplaceAll(script.String(), " -o bin/", " -o \"$OPS\"/bin/")
	blocks = strings.ReplaceAll(blocks, "PATH=$PWD/bin:", "PATH=$OPS/bin:")
	blocks = onFreePorts(t, blocks)

	ops, superuser := t.TempDir(), postgres(t)
	t.Cleanup(func() { stopAll(t, ops) }) // Before Postgres and the folder go.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", blocks)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "OPS="+ops, "SUPERUSER_URL="+superuser)
	cmd.WaitDelay = time.Second // The processes that it leaves running hold its output.
	output, err := os.Create(filepath.Join(ops, "walk.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, read(t, output.Name()))
		logs, _ := filepath.Glob(filepath.Join(ops, "*.log"))
		for _, path := range logs {
			t.Logf("%s:\n%s", filepath.Base(path), read(t, path))
		}
	}
}

// onFreePorts puts a free port in the place of each that the document names.
func onFreePorts(t *testing.T, script string) string {
	t.Helper()
	named := regexp.MustCompile(`\b(?:[468]2[0-9]{2}|80[0-9]{2}|8443)\b`)
	replaced := make(map[string]string)
	var held []net.Listener
	script = named.ReplaceAllStringFunc(script, func(port string) string {
		if replaced[port] == "" {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, listener)
			_, replaced[port], _ = net.SplitHostPort(listener.Addr().String())
		}
		return replaced[port]
	})
	for _, listener := range held {
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(replaced) < 15 {
		t.Errorf("only the ports %v are found in the document", replaced)
	}
	return script
}

// stopAll ends what the walk has left running, by the pids it wrote down, and waits.
func stopAll(t *testing.T, ops string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(ops, "*.pid"))
	if err != nil || len(files) == 0 {
		t.Errorf("no process was started: %v", err)
	}
	var running []int
	for _, path := range files {
		pid, err := strconv.Atoi(strings.TrimSpace(read(t, path)))
		if err != nil {
			t.Error(err)
			continue
		}
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && !strings.HasPrefix(program, ops) {
			continue // It has stopped, and the number is another's.
		}
		if syscall.Kill(pid, syscall.SIGTERM) == nil {
			running = append(running, pid)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for len(running) > 0 {
		running = slices.DeleteFunc(running, func(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
		select {
		case <-again.C:
		case <-ctx.Done():
			for _, pid := range running {
				t.Errorf("process %d has not stopped after 30 s", pid)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return
		}
	}
}

// postgres starts a new cluster with nothing in it, which only listens on loopback, and returns its superuser's URL.
func postgres(t *testing.T) string {
	t.Helper()
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		t.Fatal(err)
	}
	folder := os.Getenv("PG_BIN")
	if path, err := exec.LookPath("postgres"); folder == "" && err == nil {
		folder = filepath.Dir(path)
	}
	if folder == "" && len(programs) > 0 {
		folder = programs[len(programs)-1]
	}
	if folder == "" {
		t.Fatal("no postgres on PATH, in PG_BIN or under /usr/lib/postgresql: run scripts/setup-test.sh")
	}
	data, err := os.MkdirTemp("", "tenon-operations-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 { // Postgres refuses to be root.
		owner, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(owner.Uid)
		gid, _ := strconv.Atoi(owner.Gid)
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(data, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	run := func(program string, args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(folder, program), args...)
		cmd.Dir, cmd.SysProcAttr = data, attributes
		if text, err := cmd.CombinedOutput(); err != nil {
			log, _ := os.ReadFile(filepath.Join(data, "log"))
			t.Fatalf("%s: %v\n%s%s", program, err, text, log)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-N")
	run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", "-p "+port+" -k "+data+" -c listen_addresses=127.0.0.1 -c max_connections=300", "start")
	t.Cleanup(func() { run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop") })
	return "postgres://postgres@" + address + "/postgres"
}
