package ground

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/bench/internal/profiling"
)

// Build compiles the server under test into folder and returns the program. With profiled it can write CPU profiles.
func Build(ctx context.Context, folder string, profiled bool) (string, error) {
	listed, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/tenon-run/tenon/cmd/tenond").Output()
	if err != nil {
		return "", fmt.Errorf("find the server's sources: %w", err)
	}
	sources, program := strings.TrimSpace(string(listed)), filepath.Join(folder, "tenond")
	args := []string{"build", "-o", program}
	if profiled {
		overlay, err := profiling.Overlay(folder, sources)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	build := exec.CommandContext(ctx, "go", append(args, ".")...)
	build.Dir = sources
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, output)
	}
	return program, nil
}

// ServerConfig says what a server runs on.
type ServerConfig struct {
	Program, Folder, DatabaseURL, NATSURL string
}

// Server is `tenond serve`, as its users run it.
type Server struct {
	*proc.Process
	Address string
}

// StartServer starts a server and returns when it says that it is ready.
func StartServer(ctx context.Context, cfg ServerConfig) (*Server, error) {
	listen, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	const keyBytes = 32
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	process, err := proc.Start(proc.Config{
		Name: "server", Program: cfg.Program, Args: []string{"serve", "--listen", listen}, Folder: cfg.Folder,
		Env: []string{"DATABASE_URL=" + cfg.DatabaseURL, "NATS_URL=" + cfg.NATSURL, "TENON_MASTER_KEY=" + hex.EncodeToString(key)},
	})
	if err != nil {
		return nil, err
	}
	s := &Server{Process: process, Address: "http://" + listen}
	if err := s.awaitReady(ctx); err != nil {
		_ = process.Stop() // the first error tells more
		return nil, err
	}
	return s, nil
}

func (s *Server) awaitReady(ctx context.Context) error {
	const most, pause = time.Minute, 20 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Address+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close() // nothing of it is read
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", context.Cause(ctx), s.LogTail())
		case <-s.Done():
			return fmt.Errorf("the server ended at its start\n%s", s.LogTail())
		case <-time.After(pause):
		}
	}
}

// freeAddress asks the kernel for a free port on loopback.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
