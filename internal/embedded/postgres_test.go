package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/internal/embedded"
)

// crashFolder makes this test binary a process that starts Postgres on a folder, says so, and waits to be killed.
const crashFolder = "EMBEDDED_TEST_CRASH_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(crashFolder); folder != "" {
		server, err := embedded.StartPostgres(context.Background(), embedded.PostgresConfig{DataRoot: folder})
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println("pid", server.PID(), server.URL())
		select {}
	}
	goleak.VerifyTestMain(m)
}

// folder returns an empty folder that Postgres's user can reach (t.TempDir is closed to others).
func folder(t *testing.T) string {
	t.Helper()
	made, err := os.MkdirTemp("", "tenon-embedded-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(made); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(made, 0o755); err != nil {
		t.Fatal(err)
	}
	return made
}

func start(t *testing.T, cfg embedded.PostgresConfig) *embedded.Postgres {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	server, err := embedded.StartPostgres(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t *testing.T, server *embedded.Postgres) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Error(err)
	}
	if pid := server.PID(); pid != 0 && syscall.Kill(pid, 0) == nil {
		t.Errorf("Postgres (pid %d) is left over", pid)
	}
}

func query(t *testing.T, address, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // Only read.
	var text string
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

func exec1(t *testing.T, address, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // The statement is done.
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresKeepsItsDataOverARestart(t *testing.T) {
	t.Parallel()
	root := filepath.Join(folder(t), ".tenon")
	first := start(t, embedded.PostgresConfig{DataRoot: root, Settings: map[string]string{"fsync": "off", "shared_buffers": "32MB"}})
	exec1(t, first.URL(), "create table kept as select 'yes'::text as here")
	if got := query(t, first.URL(), "select current_user || ' ' || current_database() || ' ' || (select rolsuper from pg_roles where rolname = current_user)"); got != "tenon tenon false" {
		t.Errorf("connected as %q", got)
	}
	if got := query(t, first.URL(), "select current_setting('fsync') || current_setting('synchronous_commit') || current_setting('full_page_writes')"); got != "ononon" {
		t.Errorf("durability is %q", got)
	}
	if got := query(t, first.URL(), "select (pg_has_role('tenon_reader', 'member') and pg_has_role('tenon_engine', 'member'))::text"); got != "true" {
		t.Errorf("member of both roles: %s", got)
	}
	for name, want := range map[string]os.FileMode{"password": 0o600, "postgres": 0o700, "postgres/data": 0o700} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if got := query(t, first.TCPURL(), "select 'tcp'"); got != "tcp" {
		t.Error("no answer over TCP")
	}
	if conn, err := pgx.Connect(t.Context(), strings.Replace(first.TCPURL(), "tenon:", "tenon:x", 1)); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a wrong password is let in")
	}
	stop(t, first)
	if _, err := os.Stat(filepath.Join(root, "postgres/data/postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was not stopped in order: %v", err)
	}
	second := start(t, embedded.PostgresConfig{DataRoot: root})
	if got := query(t, second.URL(), "select here from kept"); got != "yes" {
		t.Errorf("after a restart: %q", got)
	}
}

func TestPostgresSecondStartSaysWhereTheFirstRuns(t *testing.T) {
	t.Parallel()
	root := filepath.Join(folder(t), ".tenon")
	first := start(t, embedded.PostgresConfig{DataRoot: root})
	if err := first.Announce("http://127.0.0.1:8080"); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{DataRoot: root})
	var running *embedded.AlreadyRunning
	if !errors.As(err, &running) || running.Address != "http://127.0.0.1:8080" || running.PID != os.Getpid() {
		t.Fatalf("got %v, want AlreadyRunning with address and pid", err)
	}
	stop(t, first)
	start(t, embedded.PostgresConfig{DataRoot: root})
}

// TestPostgresAfterKill9 kills the parent in the way nobody can prepare for, and starts again at once.
func TestPostgresAfterKill9(t *testing.T) {
	t.Parallel()
	root := filepath.Join(folder(t), ".tenon")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), crashFolder+"="+root)
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var address string
	if _, err := fmt.Fscanf(output, "pid %d %s\n", &pid, &address); err != nil {
		rest, _ := io.ReadAll(output)
		t.Fatalf("the parent did not start: %v %s", err, rest)
	}
	exec1(t, address, "create table kept as select 'yes'::text as here")
	// A postmaster that is stopped cannot obey the death signal, so that the next start really finds it.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // "killed"
	if syscall.Kill(pid, 0) != nil {
		t.Fatal("the postmaster is gone already, there is no leftover to find")
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	again := start(t, embedded.PostgresConfig{DataRoot: root})
	if again.PID() == pid {
		t.Error("two servers have one pid")
	}
	if got := query(t, again.URL(), "select here from kept"); got != "yes" {
		t.Errorf("after the crash: %q", got)
	}
}

func TestPostgresStalePidFileIsNoObstacle(t *testing.T) {
	t.Parallel()
	root := filepath.Join(folder(t), ".tenon")
	stop(t, start(t, embedded.PostgresConfig{DataRoot: root}))
	// The pid of a living process that is no Postgres: ours.
	stale := fmt.Sprintf("%d\n%s\n", os.Getpid(), filepath.Join(root, "postgres/data"))
	if err := os.WriteFile(filepath.Join(root, "postgres/data/postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, embedded.PostgresConfig{DataRoot: root})
}

func TestPostgresDeathIsNoticed(t *testing.T) {
	t.Parallel()
	server := start(t, embedded.PostgresConfig{DataRoot: filepath.Join(folder(t), ".tenon")})
	if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := server.Run(ctx); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("Run = %v, want a failure", err)
	}
}

func TestPostgresUnreachableCheckout(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: Postgres runs as this user, who can reach everything")
		return
	}
	home := folder(t)
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	fallback := filepath.Join(folder(t), "lib")
	var log strings.Builder
	server := start(t, embedded.PostgresConfig{
		DataRoot: filepath.Join(home, "checkout", ".tenon"), FallbackRoot: fallback, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if got := query(t, server.URL(), "select 'here'"); got != "here" {
		t.Error("no answer")
	}
	data, err := filepath.Glob(filepath.Join(fallback, "*", "postgres", "data"))
	if err != nil || len(data) != 1 {
		t.Errorf("data in %v, %v", data, err)
	}
	if !strings.Contains(log.String(), "cannot reach") || !strings.Contains(log.String(), fallback) {
		t.Errorf("the log says nothing of it: %s", log.String())
	}
}

// What does not outlive its process leaves nothing outside of its data folder: neither the folder that Postgres's user can reach, nor the one
// for the socket when the path is too long for it.
func TestPostgresLeavesNothingElsewhere(t *testing.T) {
	t.Parallel()
	home := folder(t)
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	fallback := filepath.Join(folder(t), strings.Repeat("long", 20))
	root := filepath.Join(home, strings.Repeat("long", 20), ".tenon")
	server := start(t, embedded.PostgresConfig{DataRoot: root, FallbackRoot: fallback, Throwaway: true})
	address, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	sockets := address.Query().Get("host")
	if _, err := os.Stat(sockets); err != nil || filepath.Dir(sockets) != "/tmp" {
		t.Errorf("the socket is in %s, %v; want a short folder", sockets, err)
	}
	if _, err := os.Stat(fallback); (err == nil) != (os.Geteuid() == 0) {
		t.Errorf("fallback: %v, for user %d", err, os.Geteuid())
	}
	stop(t, server)
	for _, gone := range []string{sockets, fallback} {
		if _, err := os.Lstat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left over: %v", gone, err)
		}
	}
	if _, err := os.Stat(root); err != nil {
		t.Errorf("the caller's own folder: %v", err)
	}
}

func TestPostgresFromATemplate(t *testing.T) {
	t.Parallel()
	templates := filepath.Join(folder(t), "templates")
	for range 2 {
		server := start(t, embedded.PostgresConfig{DataRoot: filepath.Join(folder(t), ".tenon"), TemplateRoot: templates})
		if got := query(t, server.URL(), "select 'here'"); got != "here" {
			t.Error("no answer")
		}
	}
	kept, err := filepath.Glob(filepath.Join(templates, "postgres-*", "data", "PG_VERSION"))
	if err != nil || len(kept) != 1 {
		t.Errorf("templates %v, %v", kept, err)
	}
}

func TestPostgresOfSomebodyElse(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), ".tenon")
	server := start(t, embedded.PostgresConfig{DatabaseURL: "postgres://elsewhere/db", DataRoot: root})
	if server.URL() != "postgres://elsewhere/db" || server.PID() != 0 || server.AdminURL() != "" {
		t.Errorf("URL %q, pid %d", server.URL(), server.PID())
	}
	if err := server.Announce("http://127.0.0.1:8080"); err != nil {
		t.Error(err)
	}
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{DatabaseURL: "postgres://elsewhere/other", DataRoot: root})
	var running *embedded.AlreadyRunning
	if !errors.As(err, &running) || running.Address != "http://127.0.0.1:8080" {
		t.Errorf("a second start on the same folder: %v, want AlreadyRunning", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Postgres has a folder all the same: %v", err)
	}
}

func TestPostgresWithoutItsPasswordSaysWhatToDo(t *testing.T) {
	t.Parallel()
	root := filepath.Join(folder(t), ".tenon")
	stop(t, start(t, embedded.PostgresConfig{DataRoot: root}))
	if err := os.Remove(filepath.Join(root, "password")); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{DataRoot: root}); err == nil || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("got %v, want advice", err)
	}
}

func TestPostgresBadSettingShowsItsLog(t *testing.T) {
	t.Parallel()
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresConfig{
		DataRoot: filepath.Join(folder(t), ".tenon"), Settings: map[string]string{"no_such_setting": "1"}, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got %v, want Postgres's own words", err)
	}
}
