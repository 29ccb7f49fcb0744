package app

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/tenon-run/tenon/internal/presence"
)

// peers passes calls on to the other processes; it implements rpc.Peers.
type peers struct {
	presence  *presence.Presence
	own       netip.Addr // the address that this process is reached at
	transport *http.Transport
}

func newPeers(known *presence.Presence, cfg Config) *peers {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	const idle = 90 * time.Second
	const ping = 5 * time.Second    // a process that was stopped keeps its connections: calls and streams through it are ended after twice that
	own, _ := hostIP(cfg.Advertise) // a name is nobody's address
	return &peers{presence: known, own: own, transport: &http.Transport{
		Protocols: protocols, IdleConnTimeout: idle, DisableCompression: true, // what comes is passed on as it is
		TLSClientConfig: &tls.Config{RootCAs: cfg.PeerRoots, MinVersion: tls.VersionTLS12},
		HTTP2:           &http.HTTP2Config{SendPingTimeout: ping, PingTimeout: ping, MaxReceiveBufferPerStream: 1 << 20},
	}}
}

// Addresses implements rpc.Peers.
func (p *peers) Addresses(service string) []string {
	running := p.presence.Running(service)
	addresses := make([]string, len(running))
	for i, process := range running {
		addresses[i] = process.Address
	}
	return addresses
}

// Trusts implements rpc.Peers: the processes of the install are believed when they name the caller of a call that they pass on. A process
// announced under a name instead of an address is not.
func (p *peers) Trusts(addr netip.Addr) bool {
	if addr.IsLoopback() || addr == p.own {
		return true
	}
	for _, process := range p.presence.All() {
		if ip, ok := hostIP(process.Address); ok && ip == addr {
			return true
		}
	}
	return false
}

// Transport implements rpc.Peers.
func (p *peers) Transport() http.RoundTripper { return p.transport }

func hostIP(address string) (netip.Addr, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return ip.Unmap(), err == nil
}

// schedulers are the other processes that run a scheduler; it implements scheduler.Members.
type schedulers struct{ *presence.Presence }

// Others implements scheduler.Members.
func (s schedulers) Others() []string {
	running := s.Running(Scheduler)
	names := make([]string, len(running))
	for i, process := range running {
		names[i] = process.Instance
	}
	return names
}
