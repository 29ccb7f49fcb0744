package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The services of an install, as --services names them.
const (
	Identity   = "identity"
	Registry   = "registry"
	Scheduler  = "scheduler"
	Dispatcher = "dispatcher"
	Ingest     = "ingest"
	Frontend   = "frontend"
)

// AllServices lists what a process can run. Ingest has no calls of its own yet: a process that runs nothing else only passes calls on.
func AllServices() []string {
	return []string{Identity, Registry, Scheduler, Dispatcher, Ingest, Frontend}
}

// Config says what an App runs on. The fields of the first block are required.
type Config struct {
	DatabaseURL string
	// NATS is a connection made with bus.Options; the caller closes it after Run.
	NATS *nats.Conn
	// Listener is the one port.
	Listener net.Listener
	Log      *slog.Logger

	// Services are the names of what this process runs; calls to the others are passed on to processes that do. Default all.
	Services []string
	// MasterKey seals the signing keys: 32 bytes. Required where identity runs.
	MasterKey []byte
	// Advertise is the URL under which other processes reach this one. Default the listener's address; one that listens on all addresses
	// needs to be told, where there is more than one process.
	Advertise string
	// PublicAddress is put into tokens: the URL that clients use. Default Advertise.
	PublicAddress string
	// TLS serves HTTPS with the certificate that its GetCertificate answers with. Default: cleartext.
	TLS *tls.Config
	// PeerRoots are the authorities that other processes' certificates are held against. Default the system's.
	PeerRoots *x509.CertPool
	// TrustedProxies are the networks whose X-Forwarded-For header is believed, beside loopback and the other processes. Default none.
	TrustedProxies []netip.Prefix
	// Checkout is the folder of Tenon's source on the machine where people read the dashboard, for the commands that it shows a newcomer. Default: they are
	// asked to put in theirs.
	Checkout string
	// Grace is how long a worker out of touch keeps its work. Default 10 s.
	Grace time.Duration
	// PasswordMemory is what one password hash takes, in KiB. Default 65,536.
	PasswordMemory uint32
}

// WithDefaults returns the config with every unset field filled in.
func (c Config) WithDefaults() Config {
	if len(c.Services) == 0 {
		c.Services = AllServices()
	}
	if c.Advertise == "" {
		c.Advertise = c.ownAddress()
	}
	if c.PublicAddress == "" {
		c.PublicAddress = c.Advertise
	}
	if c.Grace == 0 {
		const grace = 10 * time.Second
		c.Grace = grace
	}
	return c
}

// ownAddress is where this machine reaches the listener.
func (c Config) ownAddress() string {
	scheme := "http://"
	if c.TLS != nil {
		scheme = "https://"
	}
	if tcp, ok := c.Listener.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return scheme + net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
	}
	return scheme + c.Listener.Addr().String()
}

// Validate names the field that is missing or wrong. It expects the defaults to be filled in.
func (c Config) Validate() error {
	for _, name := range c.Services {
		if !slices.Contains(AllServices(), name) {
			return fmt.Errorf("there is no service %q: choose from %s", name, strings.Join(AllServices(), ", "))
		}
	}
	if c.runs(Identity) && len(c.MasterKey) == 0 {
		return errors.New("the identity service needs a master key: set TENON_MASTER_KEY or TENON_MASTER_KEY_FILE")
	}
	return nil
}

func (c Config) runs(service string) bool { return slices.Contains(c.Services, service) }
