package app

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/tenon-run/tenon/frontend"
)

// mountFrontend serves the dashboard beside the API. It calls the API over the server's own port, like any client, so that its calls pass
// the same checks.
func (a *App) mountFrontend() error {
	const connections = 32
	a.loopback = &http.Transport{MaxIdleConnsPerHost: connections}
	pages, err := frontend.New(frontend.Config{
		API: &http.Client{Transport: a.loopback}, BaseURL: a.Address(), Secure: strings.HasPrefix(a.cfg.PublicAddress, "https://"), Log: a.cfg.Log,
	})
	if err != nil {
		return err
	}
	a.server.HandleHTTP("/", pages)
	return nil
}

// loopbacks are believed when they say whom they call for: the dashboard passes its viewer's address on, so that each is limited alone.
func loopbacks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}
