package app

import (
	"net/http"
	"strings"

	"github.com/tenon-run/tenon/frontend"
)

// mountFrontend serves the dashboard beside the API. It calls the API over the server's own port, like any client, so that its calls pass
// the same checks.
func (a *App) mountFrontend() error {
	const connections = 32
	a.loopback = &http.Transport{MaxIdleConnsPerHost: connections, TLSClientConfig: ownCertificate(a.cfg.TLS)}
	pages, err := frontend.New(frontend.Config{
		API: &http.Client{Transport: a.loopback}, BaseURL: a.Address(), Secure: strings.HasPrefix(a.cfg.PublicAddress, "https://"), Log: a.cfg.Log,
		Checkout: a.cfg.Checkout,
	})
	if err != nil {
		return err
	}
	a.server.HandleHTTP("/", pages)
	return nil
}
