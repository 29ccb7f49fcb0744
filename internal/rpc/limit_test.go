package rpc

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	limits := newLimiter(0.001, 2, 3)
	for i := range 2 {
		if wait := limits.take("a"); wait != 0 {
			t.Fatalf("call %d of a burst of 2 waits %s", i, wait)
		}
	}
	if wait := limits.take("a"); wait <= 0 {
		t.Error("the third call of a burst of 2 was let in")
	}
	if wait := limits.take("b"); wait != 0 {
		t.Errorf("another key waits %s", wait)
	}
	for i := range 10 {
		limits.take(fmt.Sprint("other", i))
	}
	if kept := len(limits.buckets); kept != 3 || limits.recent.Len() != 3 {
		t.Errorf("%d keys are kept, want 3", kept)
	}
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	proxies := netip.MustParsePrefix("10.0.0.0/8")
	cases := []struct {
		peer, forwarded, want string
	}{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.7", "192.0.2.1"}, // Not a proxy of ours: its header is a claim.
		{"10.1.1.1:5", "198.51.100.7", "198.51.100.7"},
		{"10.1.1.1:5", "203.0.113.9, 198.51.100.7, 10.2.2.2", "198.51.100.7"},
		{"10.1.1.1:5", "rubbish", "10.1.1.1"},
		{"[2001:db8::1]:5", "", "2001:db8::/64"},
		{"[::ffff:192.0.2.1]:5", "", "192.0.2.1"},
		{"pipe", "", "pipe"},
	}
	for _, test := range cases {
		header := http.Header{}
		if test.forwarded != "" {
			header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := clientAddress(test.peer, header, proxies.Contains); got != test.want {
			t.Errorf("%s via %q: got %s, want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}
