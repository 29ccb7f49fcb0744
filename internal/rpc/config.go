package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/tenon-run/tenon/internal/authn"
	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
)

// Verifier knows who a caller is; internal/authn implements it.
type Verifier interface {
	// Verify checks a bearer token. tenant is the Tenon-Tenant header, empty when there is none.
	Verify(ctx context.Context, bearer, tenant string) (authn.Principal, error)
	// Guard returns a context that ends, with a fault as its cause, when the principal's token is revoked or expires.
	Guard(ctx context.Context, p authn.Principal) (context.Context, context.CancelFunc)
}

// Authorizer decides whether a caller may make a call; internal/authz implements it.
type Authorizer interface {
	// Check returns nil, or a fault that says what is missing.
	Check(ctx context.Context, p authn.Principal, access *optionsv1.Access) error
}

// Peers knows the other processes of the install, to which calls are passed on that this one does not serve.
type Peers interface {
	// Addresses lists the URLs of processes that run a service, in no particular order; none when nobody does.
	Addresses(service string) []string
	// Trusts tells whether an address is such a process's, so that it is believed when it says for whom it calls.
	Trusts(addr netip.Addr) bool
	// Transport makes the calls.
	Transport() http.RoundTripper
}

// Config is what a Server needs. Verifier, Authorizer and Log are required.
type Config struct {
	Verifier   Verifier
	Authorizer Authorizer
	Log        *slog.Logger

	// AllowedOrigins are the web origins, besides the server's own, whose pages may call it ("https://app.example.com", or "*").
	// Default: none.
	AllowedOrigins []string
	// TrustedProxies are the networks whose X-Forwarded-For header is believed. Default: none.
	TrustedProxies []netip.Prefix
	// Peers passes on what this process does not serve; see Server.Forward. Default: nothing is passed on.
	Peers Peers
	// TracerProvider receives a span per call. Default: no tracing.
	TracerProvider trace.TracerProvider
	// Limits bound how often a caller may call.
	Limits Limits
	// MaxMessageBytes bounds one message in either direction, after decompression. Default 32 MiB.
	MaxMessageBytes int
	// Timeouts bound slow clients and the stop.
	Timeouts Timeouts
}

// Limits are token buckets: a steady rate in calls per second, and a burst in calls.
type Limits struct {
	// TenantRate and TenantBurst bound the calls of one tenant in this process; a signed-in user without a tenant has a bucket of its own.
	// Default 5,000 and 10,000.
	TenantRate  float64
	TenantBurst int
	// AnonymousRate and AnonymousBurst bound the calls without credentials from one address (one /64 for IPv6). Default 10 and 30.
	AnonymousRate  float64
	AnonymousBurst int
}

// Timeouts of the server. None of them ends a stream that works.
type Timeouts struct {
	// ReadHeader bounds the reading of a request's headers. Default 10 s.
	ReadHeader time.Duration
	// ReadBody bounds the reading of the one message of a unary or server-streaming call. Default 60 s.
	ReadBody time.Duration
	// Write bounds each write to a connection; a client that takes nothing for so long loses it. Default 30 s.
	Write time.Duration
	// Idle closes a kept-alive connection without calls. Default 2 min.
	Idle time.Duration
	// Grace is how long calls may go on after the stop began; streams end at once. Default 5 s.
	Grace time.Duration
	// Drain bounds the whole stop; what is still open then is cut. Default 10 s.
	Drain time.Duration
}

// WithDefaults returns a copy in which every zero field has its default.
func (c Config) WithDefaults() Config {
	c.MaxMessageBytes = orDefault(c.MaxMessageBytes, 32<<20)
	c.Limits.TenantRate = orDefault(c.Limits.TenantRate, 5_000)
	c.Limits.TenantBurst = orDefault(c.Limits.TenantBurst, 10_000)
	c.Limits.AnonymousRate = orDefault(c.Limits.AnonymousRate, 10)
	c.Limits.AnonymousBurst = orDefault(c.Limits.AnonymousBurst, 30)
	c.Timeouts.ReadHeader = orDefault(c.Timeouts.ReadHeader, 10*time.Second)
	c.Timeouts.ReadBody = orDefault(c.Timeouts.ReadBody, time.Minute)
	c.Timeouts.Write = orDefault(c.Timeouts.Write, 30*time.Second)
	c.Timeouts.Idle = orDefault(c.Timeouts.Idle, 2*time.Minute)
	c.Timeouts.Grace = orDefault(c.Timeouts.Grace, 5*time.Second)
	c.Timeouts.Drain = orDefault(c.Timeouts.Drain, 10*time.Second)
	return c
}

// Validate names the required field that is missing, or the one that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Verifier == nil:
		return errors.New("rpc: Config.Verifier is missing")
	case c.Authorizer == nil:
		return errors.New("rpc: Config.Authorizer is missing")
	case c.Log == nil:
		return errors.New("rpc: Config.Log is missing")
	case c.MaxMessageBytes < 0:
		return errors.New("rpc: Config.MaxMessageBytes is negative")
	case c.Limits.TenantRate < 0, c.Limits.TenantBurst < 0, c.Limits.AnonymousRate < 0, c.Limits.AnonymousBurst < 0:
		return errors.New("rpc: a field of Config.Limits is negative")
	default:
		return nil
	}
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
