package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/tenon-run/tenon/test/load"
)

// variable tells a process that it is a NATS server, and holds its port.
const variable = "TENON_CHAOS_NATS"

// Main works as what this process was started as, and exits; it does nothing in a process that somebody else started.
func Main() {
	load.Main()
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	var port int
	err := json.Unmarshal([]byte(text), &port)
	if err == nil {
		err = serveNATS(port)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos NATS:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveNATS(port int) error {
	const patience, maxPayload = 10 * time.Second, 1 << 20
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	nats, err := natsserver.NewServer(&natsserver.Options{ServerName: "chaos", Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, MaxPayload: maxPayload})
	if err != nil {
		return err
	}
	nats.Start()
	if !nats.ReadyForConnections(patience) {
		return fmt.Errorf("not ready on port %d", port)
	}
	fmt.Fprintf(os.Stderr, "ready address=%s \n", nats.Addr())
	ended := make(chan struct{})
	go func() { // standard input ends with the process that started this one
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	nats.Shutdown()
	nats.WaitForShutdown()
	return nil
}

// nats is the NATS server, which keeps its port from one start to the next.
type nats struct {
	*process

	folder string
	starts int
	port   int
}

func (n *nats) start(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	port := n.port
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	cmd := exec.Command(program) //nolint:gosec,noctx // this program; ended by kill or stop
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", variable, port))
	if _, err := cmd.StdinPipe(); err != nil { // open as long as this process lives
		return fmt.Errorf("start NATS: %w", err)
	}
	n.starts++
	if n.process, err = startProcess(fmt.Sprintf("nats-%d", n.starts), n.folder, cmd); err != nil {
		return err
	}
	ready, err := n.await(ctx, 0, "ready address=")
	if err != nil {
		return errors.Join(err, n.kill())
	}
	address, err := net.ResolveTCPAddr("tcp", ready.field("address"))
	if err != nil {
		return errors.Join(fmt.Errorf("start NATS: %w", err), n.kill())
	}
	n.port = address.Port
	return nil
}

func (n *nats) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.port) }
