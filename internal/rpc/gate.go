package rpc

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
	"github.com/tenon-run/tenon/proto/typeid"
)

// gate lets a call in or refuses it, on its headers alone: nobody makes the server decode a message without credentials.
func (s *Server) gate(ctx context.Context, spec connect.Spec, peer connect.Peer, header http.Header) (admitted context.Context, err error) {
	defer func() {
		if value := recover(); value != nil {
			admitted, err = nil, s.panicked(ctx, spec.Procedure, value)
		}
		if err != nil {
			err = s.finish(ctx, err)
		}
	}()
	access := s.methods[spec.Procedure].access
	if access == nil {
		return nil, fault.PermissionDenied("METHOD_CLOSED", "method %s says nobody may call it", spec.Procedure)
	}
	if access.GetScope() == optionsv1.Access_SCOPE_ANONYMOUS {
		if err := s.admitAddress(peer.Addr, header); err != nil {
			return nil, err
		}
		if err := s.cfg.Authorizer.Check(ctx, authn.Anonymous(), access); err != nil {
			return nil, err
		}
		return authn.WithOrigin(ctx, authn.Origin{
			Address: clientAddress(peer.Addr, header, s.trusts), UserAgent: header.Get("User-Agent"),
		}), nil
	}
	principal, err := s.authenticate(ctx, header)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Authorizer.Check(ctx, principal, access); err != nil {
		return nil, err
	}
	return authn.With(ctx, principal), nil
}

// authenticate finds out who calls, and counts the call.
func (s *Server) authenticate(ctx context.Context, header http.Header) (authn.Principal, error) {
	scheme, bearer, _ := strings.Cut(header.Get("Authorization"), " ")
	bearer = strings.TrimSpace(bearer)
	if !strings.EqualFold(scheme, "Bearer") || bearer == "" {
		return authn.Anonymous(), fault.Unauthenticated("CREDENTIALS_MISSING",
			`the call has no credentials; send the header "Authorization: Bearer <token>"`)
	}
	principal, err := s.cfg.Verifier.Verify(ctx, bearer, header.Get(authn.TenantHeader))
	if err != nil {
		return authn.Anonymous(), err
	}
	record := callOf(ctx)
	record.principal, record.known = principal, true
	bucket, who := "tenant "+publicTenant(principal), "this tenant"
	if principal.TenantID == 0 {
		bucket, who = "user "+typeid.Format(typeid.User, principal.UserID), "this user"
	}
	if wait := s.tenants.take(bucket); wait > 0 {
		return authn.Anonymous(), fault.ResourceExhausted("RATE_LIMITED",
			"%s makes more than %g calls per second; try again in %s", who, s.cfg.Limits.TenantRate, wait).WithRetryAfter(wait)
	}
	return principal, nil
}

func (s *Server) admitAddress(peer string, header http.Header) error {
	wait := s.addresses.take(clientAddress(peer, header, s.trusts))
	if wait == 0 {
		return nil
	}
	return fault.ResourceExhausted("RATE_LIMITED",
		"more than %g calls per second without credentials come from this address; try again in %s", s.cfg.Limits.AnonymousRate, wait).
		WithRetryAfter(wait)
}

// limitAddress is the gate of public methods that cost something.
func (s *Server) limitAddress(ctx context.Context, _ connect.Spec, peer connect.Peer, header http.Header) (context.Context, error) {
	if err := s.admitAddress(peer.Addr, header); err != nil {
		return nil, s.finish(ctx, err)
	}
	return ctx, nil
}

// clientAddress returns the address that a call counts for: the connection's, or behind trusted proxies the last one in
// X-Forwarded-For that is not such a proxy. IPv6 counts by /64, which is what one household or machine has.
func clientAddress(peer string, header http.Header, trusts func(netip.Addr) bool) string {
	addr, err := clientIP(peer, header, trusts)
	if err != nil {
		return peer
	}
	if addr.Is6() {
		if network, err := addr.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return addr.String()
}

func clientIP(peer string, header http.Header, trusts func(netip.Addr) bool) (netip.Addr, error) {
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		host = peer
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return addr, fmt.Errorf("read the address of a connection: %w", err)
	}
	addr = addr.Unmap()
	hops := strings.Split(strings.Join(header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && trusts(addr); i-- {
		if !isAddress(hops[i]) {
			break // What comes before is a claim of nobody known.
		}
		addr = netip.MustParseAddr(strings.TrimSpace(hops[i])).Unmap()
	}
	return addr, nil
}

func isAddress(hop string) bool {
	_, err := netip.ParseAddr(strings.TrimSpace(hop))
	return err == nil
}

// trusts tells whether an address may say for whom it calls: a trusted proxy, or another process of the install that passes a call on.
func (s *Server) trusts(addr netip.Addr) bool {
	for _, network := range s.cfg.TrustedProxies {
		if network.Contains(addr) {
			return true
		}
	}
	return s.cfg.Peers != nil && s.cfg.Peers.Trusts(addr)
}
