package ground

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/bench/internal/profiling"
)

// Programs are what is measured: the server, and the bench's own program for workers and clients with the SDK of the same commit.
type Programs struct {
	Server string
	// Roles is empty for the program that runs.
	Roles string
}

// Build compiles the server under test into folder and returns the program. With profiled it can write CPU profiles.
func Build(ctx context.Context, folder string, profiled bool) (string, error) {
	sources, err := packageFolder(ctx, ".", "github.com/tenon-run/tenon/cmd/tenond")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "tenond")
	args := []string{"build", "-o", program}
	if profiled {
		overlay, err := profiling.Overlay(folder, sources)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	return program, goCommand(ctx, sources, append(args, ".")...)
}

// BuildRoles compiles the bench into folder, for the roles of its workers and clients, and returns the program.
func BuildRoles(ctx context.Context, folder string) (string, error) {
	sources, err := packageFolder(ctx, ".", "github.com/tenon-run/tenon/bench")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "roles")
	return program, goCommand(ctx, sources, "build", "-o", program, ".")
}

func packageFolder(ctx context.Context, from, name string) (string, error) {
	list := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", name)
	list.Dir = from
	output, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find the sources of %s: %w", name, err)
	}
	return strings.TrimSpace(string(output)), nil
}

func goCommand(ctx context.Context, folder string, args ...string) error {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), folder, err, output)
	}
	return nil
}

// ServerConfig says what a server runs on.
type ServerConfig struct {
	Program, Folder, DatabaseURL, NATSURL string
	// MasterKey is the install's, made by NewMasterKey.
	MasterKey string
	// Name tells the processes of an install apart. Default "server".
	Name string
	// Services are what it runs, as --services takes them. Default all.
	Services string
}

// NewMasterKey makes the key of an install.
func NewMasterKey() string {
	const keyBytes = 32
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	return hex.EncodeToString(key)
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
	if cfg.Name == "" {
		cfg.Name = "server"
	}
	args := []string{"serve", "--listen", listen}
	if cfg.Services != "" {
		args = append(args, "--services", cfg.Services)
	}
	process, err := proc.Start(proc.Config{
		Name: cfg.Name, Program: cfg.Program, Args: args, Folder: cfg.Folder,
		Env: []string{"DATABASE_URL=" + cfg.DatabaseURL, "NATS_URL=" + cfg.NATSURL, "TENON_MASTER_KEY=" + cfg.MasterKey},
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

// Others reads from the server's log which instances it has met, by their addresses.
func (s *Server) Others() (map[string]string, error) {
	text, err := os.ReadFile(s.Log())
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		var met struct{ Msg, Address, Instance string }
		if json.Unmarshal([]byte(line), &met) == nil && met.Msg == "presence: a process is here" {
			out[met.Address] = met.Instance
		}
	}
	return out, nil
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
