package tlsreload_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenon-run/tenon/internal/tlsreload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// begin is the time of the tests' clock, in the certificates' validity.
var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bundle is a source with its files, its clock and its log.
type bundle struct {
	*tlsreload.Source
	cert, key string
	now       time.Time
	log       *strings.Builder
}

func setup(t *testing.T) *bundle {
	t.Helper()
	folder := t.TempDir()
	b := &bundle{cert: filepath.Join(folder, "tls.crt"), key: filepath.Join(folder, "tls.key"), now: begin, log: new(strings.Builder)}
	b.write(t, "first")
	var err error
	b.Source, err = tlsreload.New(tlsreload.Config{
		CertFile: b.cert, KeyFile: b.key, Log: slog.New(slog.NewTextHandler(b.log, nil)), Every: 2 * time.Second, Now: func() time.Time { return b.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bundle) write(t *testing.T, name string) {
	t.Helper()
	cert, key := makePair(t, name)
	put(t, b.cert, cert)
	put(t, b.key, key)
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// makePair makes a certificate of its own root for 127.0.0.1, with a name that tells it from others.
func makePair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: begin.Add(-time.Hour), NotAfter: begin.Add(1000 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// shake does a handshake over a connection and returns what the client saw.
func (b *bundle) shake(t *testing.T, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	client.InsecureSkipVerify = true // The test reads the certificate itself.
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	server := tls.Server(there, b.TLSConfig())
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	conn := tls.Client(here, client)
	err := conn.Handshake()
	_ = here.Close()
	<-done
	return conn.ConnectionState(), err
}

// name is the certificate that a new client gets.
func (b *bundle) name(t *testing.T) string {
	t.Helper()
	state, err := b.shake(t, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0].Subject.CommonName
}

func TestReplacedFilesAreUsedAfterALook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "second")
	b.now = begin.Add(2*time.Second - 1)
	if got := b.name(t); got != "first" {
		t.Errorf("within two seconds of a look: %s", got)
	}
	b.now = begin.Add(2 * time.Second)
	if got := b.name(t); got != "second" {
		t.Errorf("after two seconds: %s", got)
	}
	if got := strings.Count(b.log.String(), "certificate in use"); got != 1 || !strings.Contains(b.log.String(), "not_after=2026-") {
		t.Errorf("logged %d times: %s", got, b.log)
	}
	b.write(t, "third")
	b.now = begin // The clock was set back: that must not keep an old certificate for long.
	if got := b.name(t); got != "third" {
		t.Errorf("after the clock was set back: %s", got)
	}
}

func TestReloadLooksAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "second")
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := b.name(t); got != "second" {
		t.Errorf("after Reload: %s", got)
	}
}

// TestReplacedByALink is how Kubernetes and certbot do it.
func TestReplacedByALink(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cert, key := makePair(t, "linked")
	folder := t.TempDir()
	for path, text := range map[string][]byte{b.cert: cert, b.key: key} {
		target := filepath.Join(folder, filepath.Base(path))
		put(t, target, text)
		if err := errors.Join(os.Remove(path), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	b.now = begin.Add(time.Minute)
	if got := b.name(t); got != "linked" {
		t.Errorf("got %s", got)
	}
}

func TestBadFilesLeaveTheLastGoodPair(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T) ([]byte, []byte) { return makePair(t, "other") }
	for name, spoil := range map[string]func(t *testing.T, b *bundle){
		"no PEM":           func(t *testing.T, b *bundle) { put(t, b.cert, []byte("half a fi")) },
		"empty key":        func(t *testing.T, b *bundle) { put(t, b.key, nil) },
		"certificate gone": func(_ *testing.T, b *bundle) { _ = os.Remove(b.cert) },
		"key gone":         func(_ *testing.T, b *bundle) { _ = os.Remove(b.key) },
		"another's key":    func(t *testing.T, b *bundle) { _, key := good(t); put(t, b.key, key) },
		"only the new certificate so far": func(t *testing.T, b *bundle) {
			cert, _ := good(t)
			put(t, b.cert, cert)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			spoil(t, b)
			for range 5 {
				b.now = b.now.Add(time.Minute)
				if got := b.name(t); got != "first" {
					t.Errorf("with bad files: %s", got)
				}
			}
			if err := b.Reload(); err == nil || !strings.Contains(err.Error(), filepath.Dir(b.cert)) {
				t.Errorf("Reload says %v, want the file", err)
			}
			if got := strings.Count(b.log.String(), "level=ERROR"); got != 1 {
				t.Errorf("logged %d times: %s", got, b.log)
			}
			b.write(t, "repaired")
			b.now = b.now.Add(time.Minute)
			if got := b.name(t); got != "repaired" {
				t.Errorf("after the repair: %s", got)
			}
			spoil(t, b)
			b.now = b.now.Add(time.Minute)
			if got := b.name(t); got != "repaired" {
				t.Errorf("with bad files again: %s", got)
			}
			if got := strings.Count(b.log.String(), "level=ERROR"); got != 2 {
				t.Errorf("a failure after a repair is logged %d times: %s", got, b.log)
			}
		})
	}
}

// TestTheSameFilesComeBack is a mistake undone: the good pair is told to be in use again.
func TestTheSameFilesComeBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text, err := os.ReadFile(b.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, spoiled := range [][]byte{nil, []byte("x")} {
		put(t, b.key, spoiled)
		if err := b.Reload(); err == nil {
			t.Error("a bad key is taken")
		}
		put(t, b.key, text)
		if err := b.Reload(); err != nil {
			t.Error(err)
		}
		if got := b.name(t); got != "first" {
			t.Errorf("got %s", got)
		}
	}
	if log := b.log.String(); strings.Count(log, "level=ERROR") != 2 || strings.Count(log, "level=INFO") != 2 {
		t.Errorf("log: %s", log)
	}
}

func TestProtocolsAndVersions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for want, offered := range map[string][]string{"h2": {"http/1.1", "h2"}, "http/1.1": {"http/1.1"}, "": nil} {
		state, err := b.shake(t, &tls.Config{NextProtos: offered})
		if err != nil || state.NegotiatedProtocol != want {
			t.Errorf("offered %v: %q, %v, want %q", offered, state.NegotiatedProtocol, err, want)
		}
	}
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		if _, err := b.shake(t, &tls.Config{MinVersion: version, MaxVersion: version}); (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// TestServer is the way a process uses it: HTTP/1.1 and HTTP/2 on one port, and new files while connections are open.
func TestServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	server := &http.Server{
		TLSConfig: b.TLSConfig(), Protocols: protocols, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
	}
	var running sync.WaitGroup
	running.Go(func() { _ = server.ServeTLS(listener, "", "") })
	t.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
	get := func(trusted []byte, h2 bool) (string, error) {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(trusted)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Time: func() time.Time { return begin }}, ForceAttemptHTTP2: h2}
		defer transport.CloseIdleConnections()
		answer, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String())
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	first, err := os.ReadFile(b.cert)
	if err != nil {
		t.Fatal(err)
	}
	for want, h2 := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		if got, err := get(first, h2); err != nil || got != want {
			t.Errorf("got %q, %v, want %s", got, err, want)
		}
	}
	b.write(t, "second")
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(b.cert)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(second, true); err != nil || got != "HTTP/2.0" {
		t.Errorf("who trusts the new certificate gets %q, %v", got, err)
	}
	if _, err := get(first, true); err == nil {
		t.Error("who trusts only the old certificate is served")
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := setup(t)
	for want, cfg := range map[string]tlsreload.Config{
		"TENON_TLS_CERT_FILE": {KeyFile: b.key},
		"TENON_TLS_KEY_FILE":  {CertFile: b.cert},
		"none.crt":            {CertFile: filepath.Join(filepath.Dir(b.cert), "none.crt"), KeyFile: b.key},
		"do not make a pair":  {CertFile: b.cert, KeyFile: other.key},
	} {
		cfg.Log = slog.New(slog.DiscardHandler)
		if _, err := tlsreload.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
