package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsReadyTimeout bounds the start, which takes some milliseconds.
const natsReadyTimeout = 10 * time.Second

// NATSConfig says how the NATS server inside the process runs.
type NATSConfig struct {
	// Name is the server's name in its own monitoring. Default "tenon-embedded".
	Name string
	// Listen opens a TCP listener on this address, "127.0.0.1" for instance, to those who have the URL with its random password, so that
	// nobody else on the machine is let in. Default none: only this process can connect.
	Listen string
	// Port is the listener's port; -1 takes a free one. Default 4222. Ignored without Listen.
	Port int
}

// WithDefaults returns the config with every unset field filled in.
func (c NATSConfig) WithDefaults() NATSConfig {
	if c.Name == "" {
		c.Name = "tenon-embedded"
	}
	if c.Port == 0 {
		c.Port = 4222
	}
	return c
}

// NATS is a NATS server inside this process. Nothing is stored: it carries hints.
type NATS struct {
	server *server.Server
	// user is who everybody is, on a server that listens; nil otherwise.
	user *url.Userinfo
}

// StartNATS starts a server and returns when it accepts connections. The caller calls Shutdown.
func StartNATS(cfg NATSConfig) (*NATS, error) {
	cfg = cfg.WithDefaults()
	options := &server.Options{
		ServerName: cfg.Name, DontListen: cfg.Listen == "", Host: cfg.Listen, Port: cfg.Port,
		NoSigs: true, NoLog: true, MaxPayload: 1 << 20, WriteDeadline: 10 * time.Second,
	}
	var user *url.Userinfo
	if cfg.Listen != "" {
		options.Username, options.Password = "tenon", rand.Text()
		user = url.UserPassword(options.Username, options.Password)
	}
	srv, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("start the embedded NATS server: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(natsReadyTimeout) {
		srv.Shutdown()
		srv.WaitForShutdown()
		if cfg.Listen != "" {
			return nil, fmt.Errorf("the embedded NATS server does not accept connections on %s:%d: is the port taken?", cfg.Listen, cfg.Port)
		}
		return nil, errors.New("the embedded NATS server did not become ready")
	}
	return &NATS{server: srv, user: user}, nil
}

// Conn returns a new connection within the process, which the caller closes.
func (n *NATS) Conn(options ...nats.Option) (*nats.Conn, error) {
	options = append(options, nats.InProcessServer(n.server))
	if n.user != nil {
		password, _ := n.user.Password()
		options = append(options, nats.UserInfo(n.user.Username(), password))
	}
	conn, err := nats.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	return conn, nil
}

// URL returns the listener's address for other processes, with the password, empty without a listener.
func (n *NATS) URL() string {
	if n.server.Addr() == nil {
		return ""
	}
	return (&url.URL{Scheme: "nats", User: n.user, Host: n.server.Addr().String()}).String()
}

// Shutdown stops the server and waits until it is gone. Connections end; close them first for a quiet stop.
func (n *NATS) Shutdown() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}
