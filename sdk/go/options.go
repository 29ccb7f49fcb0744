package tenon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// ClientOption is an option of [NewClient]. An option wins over its environment variable.
type ClientOption func(*clientConfig)

type clientConfig struct {
	token       string
	anonymous   bool
	address     string
	tenant      string
	rootCAFile  string
	serverName  string
	userAgent   string
	callTimeout time.Duration
	logger      *slog.Logger
	transport   http.RoundTripper
	backoff     backoff
	// openPatience is how long callers that await runs wait for the stream of others to open.
	openPatience time.Duration
}

// WithToken sets the API or worker token. Environment: TENON_CLIENT_TOKEN. Required.
func WithToken(token string) ClientOption { return func(c *clientConfig) { c.token = token } }

// WithoutToken makes a client for the calls that need none, SignUp and SignIn, whatever TENON_CLIENT_TOKEN says. It needs an address.
func WithoutToken() ClientOption { return func(c *clientConfig) { c.anonymous = true } }

// WithAddress sets the server's address, for example "http://127.0.0.1:8080" or "https://tenon.example.com".
// Environment: TENON_CLIENT_ADDRESS. Default: the address that the token carries.
// An http:// address speaks HTTP/2 in the clear, an https:// one HTTP/2 over TLS.
func WithAddress(address string) ClientOption { return func(c *clientConfig) { c.address = address } }

// WithTenant names the tenant, by id or short name, for a user's token; API and worker tokens belong to one. Environment: TENON_CLIENT_TENANT.
func WithTenant(tenant string) ClientOption { return func(c *clientConfig) { c.tenant = tenant } }

// WithTLSRootCAFile trusts the certificates of a PEM file instead of the system's. Environment: TENON_CLIENT_TLS_ROOT_CA_FILE.
func WithTLSRootCAFile(path string) ClientOption {
	return func(c *clientConfig) { c.rootCAFile = path }
}

// WithTLSServerName checks the server's certificate against this name instead of the address's host. Environment: TENON_CLIENT_TLS_SERVER_NAME.
func WithTLSServerName(name string) ClientOption {
	return func(c *clientConfig) { c.serverName = name }
}

// WithUserAgent says what calls, for the list of a user's sessions and the server's logs. Default: connect-go with its version.
func WithUserAgent(name string) ClientOption { return func(c *clientConfig) { c.userAgent = name } }

// WithCallTimeout limits a call, its retries included, whose context has no deadline. Default 60 s. Waiting for a run's end is not limited by it.
func WithCallTimeout(d time.Duration) ClientOption {
	return func(c *clientConfig) { c.callTimeout = d }
}

// WithLogger sets where the SDK and its workers log to. Default: slog.Default().
func WithLogger(l *slog.Logger) ClientOption { return func(c *clientConfig) { c.logger = l } }

// WithTransport replaces the HTTP transport, for example to count requests. It must speak HTTP/2 for streams to share a connection.
func WithTransport(t http.RoundTripper) ClientOption {
	return func(c *clientConfig) { c.transport = t }
}

func newClientConfig(opts []ClientOption) (clientConfig, error) {
	cfg := clientConfig{
		token:       strings.TrimSpace(os.Getenv("TENON_CLIENT_TOKEN")),
		address:     strings.TrimSpace(os.Getenv("TENON_CLIENT_ADDRESS")),
		tenant:      strings.TrimSpace(os.Getenv("TENON_CLIENT_TENANT")),
		rootCAFile:  os.Getenv("TENON_CLIENT_TLS_ROOT_CA_FILE"),
		serverName:  os.Getenv("TENON_CLIENT_TLS_SERVER_NAME"),
		callTimeout: time.Minute,
		backoff:     backoff{first: 100 * time.Millisecond, most: 5 * time.Second}, openPatience: time.Second,
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	if cfg.logger == nil {
		cfg.logger = slog.Default()
	}
	if cfg.anonymous {
		cfg.token, cfg.tenant = "", ""
	} else if cfg.token == "" {
		return cfg, errors.New("tenon: no token: set TENON_CLIENT_TOKEN or use tenon.WithToken")
	}
	if cfg.address == "" {
		cfg.address = addressOf(cfg.token)
	}
	if cfg.address == "" {
		return cfg, errors.New("tenon: no address, and the token carries none: set TENON_CLIENT_ADDRESS or use tenon.WithAddress")
	}
	cfg.address = strings.TrimRight(cfg.address, "/")
	u, err := url.Parse(cfg.address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return cfg, fmt.Errorf("tenon: address %q is no http:// or https:// address with a host", cfg.address)
	}
	if cfg.rootCAFile != "" && u.Scheme != "https" {
		return cfg, fmt.Errorf("tenon: a TLS root CA file is set but address %q is not https://", cfg.address)
	}
	if cfg.transport == nil {
		cfg.transport, err = newTransport(u.Scheme == "https", cfg.rootCAFile, cfg.serverName)
	}
	return cfg, err
}

// addressOf reads the address claim of a JWT without verifying it: the server verifies the token, and a forged address only reaches its forger.
func addressOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Addr string `json:"addr"`
	}
	if json.Unmarshal(body, &claims) != nil {
		return ""
	}
	return claims.Addr
}

func newTransport(secure bool, rootCAFile, serverName string) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // net/http says so
	t.Protocols = new(http.Protocols)
	t.MaxIdleConnsPerHost = 8
	// A dead connection is noticed before the worker's grace has passed.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second}
	if !secure {
		t.Protocols.SetUnencryptedHTTP2(true)
		return t, nil
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(true)
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if rootCAFile != "" {
		pem, err := os.ReadFile(rootCAFile)
		if err != nil {
			return nil, fmt.Errorf("tenon: TLS root CA file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tenon: TLS root CA file %s holds no PEM certificate", rootCAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}
