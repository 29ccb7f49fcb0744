package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/tenon-run/tenon/cmd/tenon/profile"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// target is where a call goes and as whom.
type target struct {
	// profile is the name of the profile that the token comes from; empty for the environment's.
	profile                    string
	address, token, tenant     string
	caFile, serverName, signed string
}

func (c *cli) env(name string) string { return strings.TrimSpace(c.host.Getenv(name)) }

// profileName is the profile that a call with a profile is made with.
func (c *cli) profileName(store *profile.Store) (name string, chosen bool) {
	if c.profileFlag != "" {
		return c.profileFlag, true
	}
	if name := c.env("TENON_PROFILE"); name != "" {
		return name, true
	}
	return store.CurrentName(), false
}

func (c *cli) store() (*profile.Store, error) {
	path, err := profile.Path(c.host.Getenv)
	if err != nil {
		return nil, err
	}
	return profile.Open(path)
}

// target finds out where to call and as whom. A profile's token goes to the profile's address and nowhere else.
func (c *cli) target() (target, error) {
	t := target{
		address: first(c.addressFlag, c.env("TENON_CLIENT_ADDRESS")), tenant: first(c.tenantFlag, c.env("TENON_CLIENT_TENANT")),
		caFile: c.env("TENON_CLIENT_TLS_ROOT_CA_FILE"), serverName: c.env("TENON_CLIENT_TLS_SERVER_NAME"),
	}
	if token := c.env("TENON_CLIENT_TOKEN"); token != "" && c.profileFlag == "" {
		t.token = token
		return t, nil
	}
	store, err := c.store()
	if err != nil {
		return t, err
	}
	name, chosen := c.profileName(store)
	p, known := store.Profiles[name]
	switch {
	case !known && chosen:
		return t, problem{code: ExitUsage, message: fmt.Sprintf("profile %q does not exist", show.OneLine(name)), next: "tenon profiles list, or tenon login --profile " + show.OneLine(name)}
	case p.Token == "" && name == profile.Default:
		return t, problem{code: ExitNotSignedIn, message: "not signed in", next: "tenon login, or set TENON_CLIENT_TOKEN"}
	case p.Token == "":
		return t, problem{code: ExitNotSignedIn, message: fmt.Sprintf("profile %q is not signed in", name), next: "tenon login --profile " + name}
	case t.address != "" && strings.TrimRight(t.address, "/") != p.Address:
		return t, problem{
			code: ExitUsage, message: fmt.Sprintf("profile %q is signed in at %s, and its token is not sent to %s", name, p.Address, show.OneLine(t.address)),
			next: "tenon login " + show.OneLine(t.address) + " --profile NAME, or leave --address and TENON_CLIENT_ADDRESS out",
		}
	case !p.Expires.IsZero() && !c.host.Now().Before(p.Expires):
		return t, problem{
			code: ExitNotSignedIn, message: fmt.Sprintf("the sign-in of profile %q ended at %s", name, p.Expires.In(c.host.Zone).Format("2006-01-02 15:04:05")),
			next: "tenon login --profile " + name,
		}
	}
	t.profile, t.address, t.token, t.signed = name, p.Address, p.Token, p.Email
	t.tenant, t.caFile, t.serverName = first(t.tenant, p.Tenant), first(t.caFile, p.CAFile), first(t.serverName, p.ServerName)
	return t, nil
}

// client makes the client of a call. Close it.
func (c *cli) client() (*tenon.Client, error) {
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	return t.client(tenon.WithToken(t.token))
}

func (t target) client(token tenon.ClientOption) (*tenon.Client, error) {
	client, err := tenon.NewClient(token, tenon.WithAddress(t.address), tenon.WithTenant(t.tenant), tenon.WithTLSRootCAFile(t.caFile),
		tenon.WithTLSServerName(t.serverName),
		tenon.WithUserAgent("tenon/"+Version+" (command line)"), tenon.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil && t.address == "" && t.token != "" {
		return nil, problem{code: ExitUsage, message: "TENON_CLIENT_TOKEN does not name the server", next: "set TENON_CLIENT_ADDRESS, or give --address"}
	}
	if err != nil {
		return nil, problem{code: ExitUsage, message: strings.TrimPrefix(err.Error(), "tenon: ")}
	}
	return client, nil
}

// ask makes one call, within the time that a call may take.
func ask[Req, Res any](ctx context.Context, c *cli, method func(context.Context, *Req) (*Res, error), req *Req) (*Res, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return method(ctx, req)
}

// with opens the client for one command.
func (c *cli) with(run func(client *tenon.Client) error) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return errors.Join(run(client), client.Close())
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
