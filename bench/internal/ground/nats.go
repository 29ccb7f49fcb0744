package ground

import (
	"context"

	"github.com/tenon-run/tenon/bench/internal/proc"
	"github.com/tenon-run/tenon/internal/embedded"
)

// RoleNATS is the role of the process that is the NATS server.
const RoleNATS = "nats"

// NATSHandlers starts a NATS server on loopback and returns what the process answers to; stop ends the server.
func NATSHandlers() (handlers map[string]proc.Handler, stop func(), err error) {
	server, err := embedded.StartNATS(embedded.NATSConfig{Name: "bench", Listen: "127.0.0.1", Port: -1})
	if err != nil {
		return nil, nil, err
	}
	return map[string]proc.Handler{
		"url": proc.Handle(func(context.Context, struct{}) (string, error) { return server.URL(), nil }),
	}, server.Shutdown, nil
}

// StartNATS starts that process and returns the server's address.
func StartNATS(ctx context.Context, folder string) (*proc.Process, string, error) {
	process, err := proc.Start(proc.Config{Name: "nats", Role: RoleNATS, Folder: folder})
	if err != nil {
		return nil, "", err
	}
	var url string
	if err := process.Ask(ctx, "url", struct{}{}, &url); err != nil {
		_ = process.Stop() // the first error tells more
		return nil, "", err
	}
	return process, url, nil
}
