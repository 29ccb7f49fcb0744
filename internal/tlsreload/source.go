package tlsreload

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Config names the files. Those of the first block are required.
type Config struct {
	// CertFile holds the certificate and those that lead to its root, as PEM. TENON_TLS_CERT_FILE.
	CertFile string
	// KeyFile holds the certificate's private key, as PEM. TENON_TLS_KEY_FILE.
	KeyFile string
	Log     *slog.Logger

	// Every is how long a look at the files holds: a handshake later than that looks again. Default 2 s.
	Every time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// WithDefaults returns the config with every unset field filled in.
func (c Config) WithDefaults() Config {
	if c.Every == 0 {
		const every = 2 * time.Second
		c.Every = every
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate names what is missing.
func (c Config) Validate() error {
	switch {
	case c.CertFile == "":
		return errors.New("a TLS key is set and no certificate: set --tls-cert (TENON_TLS_CERT_FILE) too")
	case c.KeyFile == "":
		return errors.New("a TLS certificate is set and no key: set --tls-key (TENON_TLS_KEY_FILE) too")
	case c.Log == nil:
		return errors.New("tlsreload: no log")
	}
	return nil
}

// Source holds the newest pair that works. All methods may be called from any goroutine.
type Source struct {
	cfg Config

	mu      sync.Mutex
	current *tls.Certificate
	looked  time.Time
	// seen is what the files held when they were last read, and what came of it, so that a bad pair is tried once.
	seen    pair
	seenErr error
	// failed is the text of the last failure that was logged; empty once the files are good.
	failed string
}

type pair struct{ cert, key []byte }

func (p pair) equal(other pair) bool {
	return bytes.Equal(p.cert, other.cert) && bytes.Equal(p.key, other.key)
}

// New reads the files, which must hold a pair that works.
func New(cfg Config) (*Source, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, looked: cfg.Now()}
	if _, err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// TLSConfig returns the server's settings: HTTP/2 and HTTP/1.1, TLS 1.2 and newer, and the certificate of the moment of each handshake.
// The caller may change it.
func (s *Source) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate(), nil },
	}
}

// Reload looks at the files now. On an error the last good pair stays; the error is logged too.
func (s *Source) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look()
}

// certificate looks at the files if it is time to. A handshake never fails for what it finds there.
func (s *Source) certificate() *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := s.cfg.Now().Sub(s.looked); age >= s.cfg.Every || age < 0 {
		_ = s.look() // has been logged
	}
	return s.current
}

// look loads what has changed, and logs what came of it: a success once, and a failure once for as long as it is the same.
func (s *Source) look() error {
	s.looked = s.cfg.Now()
	changed, err := s.load()
	switch {
	case err == nil && (changed || s.failed != ""):
		s.failed = ""
		s.cfg.Log.Info("tls: certificate in use", "file", s.cfg.CertFile, "subject", s.current.Leaf.Subject.String(), "not_after", s.current.Leaf.NotAfter)
	case err != nil && s.failed != err.Error():
		s.failed = err.Error()
		s.cfg.Log.Error("tls: the certificate's files cannot be used, the last good pair stays", "error", err, "not_after", s.current.Leaf.NotAfter)
	}
	return err
}

// load reads the files, and takes a pair that differs from the one it has seen last.
func (s *Source) load() (changed bool, err error) {
	var found pair
	if found.cert, err = os.ReadFile(s.cfg.CertFile); err != nil {
		return false, fmt.Errorf("read the TLS certificate: %w", err)
	}
	if found.key, err = os.ReadFile(s.cfg.KeyFile); err != nil {
		return false, fmt.Errorf("read the TLS key: %w", err)
	}
	if found.equal(s.seen) {
		return false, s.seenErr
	}
	made, err := tls.X509KeyPair(found.cert, found.key)
	s.seen, s.seenErr = found, nil
	if err != nil {
		s.seenErr = fmt.Errorf("the TLS certificate %s and the key %s do not make a pair: %w", s.cfg.CertFile, s.cfg.KeyFile, err)
		return false, s.seenErr
	}
	s.current = &made
	return true, nil
}
