package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/profile"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// localAddress is where `tenond dev` listens.
const localAddress = "http://127.0.0.1:8080"

type loginOptions struct {
	email, caFile, serverName string
	withToken                 bool
}

func (c *cli) loginCommand() *cobra.Command {
	var o loginOptions
	cmd := c.command(text{
		use: "login [ADDRESS]", short: "Sign in with a password or a token and keep it in a profile",
		long: `Sign in and keep the session, or the token, in a profile: a file in your configuration folder that you alone can read.

The password is asked for without echo; without a terminal it is the first line of standard input. With --with-token an API token is read the same way.
Neither is ever an argument, so neither gets into the shell's history. A session lasts 12 hours; a token as long as it was made for.
ADDRESS defaults to the profile's own, then to ` + localAddress + `, where "tenond dev" listens. The profile becomes the current one.`,
		example: `  tenon login http://127.0.0.1:8080 --email ada@example.com
  tenon login https://tenon.example.com --profile production --tenant acme
  tenon login https://tenon.example.com --with-token < token.txt`,
	}, func(ctx context.Context, args []string) error { return c.login(ctx, strings.Join(args, ""), o) })
	cmd.Flags().StringVar(&o.email, "email", "", "address that you signed up with; asked for when left out")
	cmd.Flags().BoolVar(&o.withToken, "with-token", false, "sign in with an API token instead of a password")
	cmd.Flags().StringVar(&o.caFile, "tls-root-ca", "", "PEM file of certificates to trust instead of the system's (environment: TENON_CLIENT_TLS_ROOT_CA_FILE)")
	cmd.Flags().StringVar(&o.serverName, "tls-server-name", "", "name to check the server's certificate against (environment: TENON_CLIENT_TLS_SERVER_NAME)")
	return cmd
}

func (c *cli) login(ctx context.Context, address string, o loginOptions) error {
	if looksLikeToken(address) {
		return badCall("a token is no argument, since arguments stay in the shell's history: use tenon login --with-token, and revoke this one")
	}
	store, err := c.store()
	if err != nil {
		return err
	}
	name, _ := c.profileName(store)
	if err := profile.CheckName(name); err != nil {
		return badCall("%s", err)
	}
	old := store.Profiles[name]
	t := target{
		address: first(address, c.addressFlag, c.env("TENON_CLIENT_ADDRESS"), old.Address),
		caFile:  first(o.caFile, c.env("TENON_CLIENT_TLS_ROOT_CA_FILE"), old.CAFile), serverName: first(o.serverName, c.env("TENON_CLIENT_TLS_SERVER_NAME"), old.ServerName),
	}
	made := profile.Profile{CAFile: t.caFile, ServerName: t.serverName}
	var who *identityv1.WhoAmIResponse
	if o.withToken {
		who, err = c.signInWithToken(ctx, t, &made)
	} else {
		t.address = first(t.address, localAddress)
		who, err = c.signIn(ctx, t, o.email, first(c.tenantFlag, c.env("TENON_CLIENT_TENANT"), old.Tenant), &made)
	}
	if err != nil {
		return err
	}
	store.Profiles[name], store.Current = made, name
	if err := store.Save(); err != nil {
		return err
	}
	c.endSession(ctx, old, made)
	return c.answer(who, func() error { return c.welcome(name, made, who) })
}

// looksLikeToken says whether an argument is a JWT, which must not be shown again.
func looksLikeToken(text string) bool {
	return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2
}

func (c *cli) welcome(name string, made profile.Profile, who *identityv1.WhoAmIResponse) error {
	as := made.Email
	if as == "" {
		as = fmt.Sprintf("token %q", who.GetToken().GetName())
	}
	until := ""
	if !made.Expires.IsZero() {
		until = ", until " + made.Expires.In(c.host.Zone).Format("2006-01-02 15:04:05")
	}
	if err := c.say("signed in at %s as %s (profile %s%s)", made.Address, as, name, until); err != nil {
		return err
	}
	if c.env("TENON_CLIENT_TOKEN") != "" {
		c.notef("TENON_CLIENT_TOKEN is set and goes before this profile: unset it, or name the profile with --profile %s", name)
	}
	if who.GetTenant() == nil {
		c.notef("you are in no tenant yet: tenon tenants create SLUG makes one")
		return nil
	}
	return c.say("tenant %s, role %s", who.GetTenant().GetSlug(), word(who.GetRole()))
}

// signIn opens a session and picks the tenant to call for.
func (c *cli) signIn(ctx context.Context, t target, email, tenant string, made *profile.Profile) (*identityv1.WhoAmIResponse, error) {
	anonymous, err := t.client(tenon.WithoutToken())
	if err != nil {
		return nil, err
	}
	defer anonymous.Close() //nolint:errcheck // it only ends idle connections
	email, password, err := c.credentials(ctx, t.address, email)
	if err != nil {
		return nil, err
	}
	session, err := ask(ctx, c, anonymous.Identity().SignIn, &identityv1.SignInRequest{Email: email, Password: password})
	if r := read(err); r != nil && r.reason == "SIGN_IN_FAILED" {
		return nil, problem{code: ExitNotSignedIn, message: r.message, next: "try again; who has no account yet signs up at " + anonymous.Address()}
	}
	if err != nil {
		return nil, err
	}
	*made = profile.Profile{
		Address: anonymous.Address(), Token: session.GetSessionToken(), Email: session.GetUser().GetEmail(), Expires: session.GetExpireTime().AsTime(),
		CAFile: made.CAFile, ServerName: made.ServerName,
	}
	user, err := t.client(tenon.WithToken(made.Token))
	if err != nil {
		return nil, err
	}
	defer user.Close() //nolint:errcheck // as above
	if made.Tenant, err = c.pickTenant(ctx, user, tenant); err != nil {
		return nil, err
	}
	t.tenant = made.Tenant
	return c.who(ctx, t, made.Token)
}

func (c *cli) who(ctx context.Context, t target, token string) (*identityv1.WhoAmIResponse, error) {
	client, err := t.client(tenon.WithToken(token))
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // it only ends idle connections
	return ask(ctx, c, client.Identity().WhoAmI, &identityv1.WhoAmIRequest{})
}

// credentials asks for what is not given yet.
func (c *cli) credentials(ctx context.Context, address, email string) (_, password string, err error) {
	if email == "" {
		if c.host.Secret == nil {
			return "", "", badCall("no terminal to ask for the address that you signed up with: give it with --email")
		}
		_, _ = fmt.Fprintf(c.host.Err, "Email for %s: ", address)
		if email, err = c.readLine(ctx); err != nil {
			return "", "", err
		}
		if email == "" {
			return "", "", badCall("no email was given")
		}
	}
	password, err = c.secret(ctx, "Password")
	return email, password, err
}

// secret reads what must not be seen: without echo at a terminal, else from standard input.
func (c *cli) secret(ctx context.Context, what string) (string, error) {
	read := c.readLine
	if c.host.Secret != nil {
		_, _ = fmt.Fprintf(c.host.Err, "%s: ", what)
		read = c.host.Secret
		defer func() { _, _ = fmt.Fprintln(c.host.Err) }()
	}
	text, err := read(ctx)
	if err == nil && text == "" {
		err = badCall("no %s was given: type it at the terminal, or write it to standard input", strings.ToLower(what))
	}
	return text, err
}

// pickTenant gives the wanted tenant, or the only or oldest one of the user's.
func (c *cli) pickTenant(ctx context.Context, client *tenon.Client, wanted string) (string, error) {
	list, err := ask(ctx, c, client.Identity().ListTenants, &identityv1.ListTenantsRequest{PageSize: 1000})
	if err != nil {
		return "", err
	}
	var slugs []string
	for _, m := range list.GetMemberships() {
		if wanted == m.GetTenant().GetSlug() || wanted == m.GetTenant().GetId() {
			return m.GetTenant().GetSlug(), nil
		}
		slugs = append(slugs, m.GetTenant().GetSlug())
	}
	if wanted != "" && c.tenantFlag == wanted {
		return "", problem{code: ExitNotFound, message: fmt.Sprintf("you are in no tenant %q", show.OneLine(wanted)), next: "leave --tenant out, then tenon tenants list"}
	}
	if len(slugs) == 0 {
		return "", nil
	}
	if len(slugs) > 1 {
		c.notef("you are in %d tenants (%s); %s is chosen: tenon tenants use SLUG takes another", len(slugs), strings.Join(slugs, ", "), slugs[0])
	}
	return slugs[0], nil
}

func (c *cli) signInWithToken(ctx context.Context, t target, made *profile.Profile) (*identityv1.WhoAmIResponse, error) {
	token, err := c.secret(ctx, "Token")
	if err != nil {
		return nil, err
	}
	client, err := t.client(tenon.WithToken(token))
	if err != nil && t.address == "" {
		t.address = localAddress // it names no server itself
		client, err = t.client(tenon.WithToken(token))
	}
	if err != nil {
		return nil, err
	}
	t.address = client.Address()
	if err := client.Close(); err != nil {
		return nil, err
	}
	who, err := c.who(ctx, t, token)
	if err != nil {
		if r := read(err); r != nil && r.code == connect.CodeUnauthenticated {
			return nil, problem{code: ExitNotSignedIn, message: r.message, next: "make a token with tenon tokens create, or at " + t.address}
		}
		return nil, err
	}
	if who.GetToken().GetKind() == identityv1.TokenKind_TOKEN_KIND_WORKER {
		return nil, problem{code: ExitDenied, message: "this is a worker's token, which can do nothing here", next: "use an API token"}
	}
	made.Address, made.Token, made.Email = t.address, token, who.GetUser().GetEmail()
	if expires := who.GetToken().GetExpireTime(); expires != nil {
		made.Expires = expires.AsTime()
	}
	return who, nil
}

// endSession signs the session out that a new sign-in took the place of. It would only be left over: that it stays when this fails is no harm.
func (c *cli) endSession(ctx context.Context, old, now profile.Profile) {
	if old.Token == "" || old.Email == "" || old.Address != now.Address || old.Token == now.Token {
		return
	}
	_ = c.signOut(ctx, old)
}

func (c *cli) signOut(ctx context.Context, p profile.Profile) error {
	client, err := target{address: p.Address, caFile: p.CAFile, serverName: p.ServerName}.client(tenon.WithToken(p.Token))
	if err != nil {
		return err
	}
	_, err = ask(ctx, c, client.Identity().SignOut, &identityv1.SignOutRequest{})
	return errors.Join(err, client.Close())
}

func (c *cli) logoutCommand() *cobra.Command {
	return c.command(text{
		use: "logout", short: "Sign out and forget the profile's token",
		long: `End the profile's session on the server and forget its token. An API token is only forgotten: it stays good until it is revoked or expires.
The profile keeps its address and tenant for the next tenon login.`,
		example: `  tenon logout
  tenon logout --profile production`,
	}, func(ctx context.Context, _ []string) error { return c.logout(ctx) })
}

func (c *cli) logout(ctx context.Context) error {
	store, err := c.store()
	if err != nil {
		return err
	}
	name, _ := c.profileName(store)
	p, known := store.Profiles[name]
	if !known || p.Token == "" {
		return problem{code: ExitNotSignedIn, message: fmt.Sprintf("profile %q is not signed in", show.OneLine(name)), next: "tenon profiles list"}
	}
	if p.Email != "" {
		err = c.signOut(ctx, p)
	}
	wasSession := p.Email != ""
	p.Token, p.Email = "", ""
	store.Profiles[name] = profile.Profile{Address: p.Address, Tenant: p.Tenant, CAFile: p.CAFile, ServerName: p.ServerName}
	if err := store.Save(); err != nil {
		return err
	}
	if r := read(err); err != nil && (r == nil || r.code != connect.CodeUnauthenticated) {
		c.notef("the session could not be ended on the server (%s): it ends by itself within 12 hours, or by tenon sessions end", c.explain(err).message)
	}
	if !wasSession {
		c.notef("the token is forgotten here and stays good: tenon tokens revoke ends it")
	}
	return c.say("signed out of profile %s", name)
}
