package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// build compiles tenond into folder.
func build(ctx context.Context, folder string) (program string, err error) {
	program = filepath.Join(folder, "tenond")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/tenon-run/tenon/cmd/tenond").CombinedOutput() //nolint:gosec // the folder is ours
	if err != nil {
		return "", fmt.Errorf("build tenond: %w\n%s", err, out)
	}
	return program, nil
}

// server is one `tenond serve` process.
type server struct {
	*process

	services string
	address  string
	instance string
}

// startServer starts a process and returns when it is ready.
func (in *Install) startServer(ctx context.Context, services string) (*server, error) {
	in.starts[services]++
	short, _, _ := strings.Cut(services, ",")
	name := fmt.Sprintf("%s-%d", short, in.starts[services])
	cmd := exec.Command(in.program, "serve", "--services="+services, "--listen=127.0.0.1:0", "--worker-grace="+in.cfg.Grace.String(), "--log-format=text") //nolint:gosec,noctx // ended by kill or stop
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TENON_") }),
		"DATABASE_URL="+in.postgres.server.URL(), "NATS_URL="+in.nats.url(), "TENON_MASTER_KEY="+in.masterKey)
	p, err := startProcess(name, in.folder, cmd)
	if err != nil {
		return nil, err
	}
	s := &server{process: p, services: services}
	if err := in.known(ctx, s); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	in.servers = append(in.servers, s)
	if strings.HasPrefix(services, "dispatcher") {
		in.everDispatchers = append(in.everDispatchers, s)
	}
	return s, nil
}

// known waits until a server is ready, and finds its address and instance: the process that stays through all faults has heard of it.
func (in *Install) known(ctx context.Context, s *server) error {
	serving, err := s.await(ctx, 0, "tenond: serving")
	if err != nil {
		return err
	}
	s.address = serving.field("address")
	if in.edge != nil {
		seen, err := in.edge.await(ctx, 0, "presence: a process is here", s.address)
		if err != nil {
			return err
		}
		s.instance = seen.field("instance")
	}
	return in.ready(ctx, s)
}

// ready waits until a server says so.
func (in *Install) ready(ctx context.Context, s *server) error {
	return eventually(ctx, s.name+" to be ready", func() (bool, error) {
		select {
		case <-s.done:
			return false, fmt.Errorf("%s has ended: %w: %s", s.name, errors.Join(s.err, errEnded), s.tail())
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address+"/readyz", nil)
		if err != nil {
			return false, err
		}
		res, err := in.http.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return res.StatusCode == http.StatusOK, res.Body.Close()
	})
}

// running lists the servers that run a service.
func (in *Install) running(service string) []*server {
	var out []*server
	for _, s := range in.servers {
		if strings.HasPrefix(s.services, service) {
			out = append(out, s)
		}
	}
	return out
}

// forget takes a server off the list, because it has ended or is about to.
func (in *Install) forget(s *server) {
	in.servers = slices.DeleteFunc(in.servers, func(other *server) bool { return other == s })
}
