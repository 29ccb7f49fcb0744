package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/services/identity"
)

// demoTenant is what `tenond dev` makes for a stranger: a user with a random password, a tenant, and tokens. It is kept in the data folder.
type demoTenant struct {
	Email    string    `json:"email"`
	Password string    `json:"password"`
	Tenant   string    `json:"tenant"`
	API      string    `json:"api_token"`
	Worker   string    `json:"worker_token"`
	Address  string    `json:"address"` // that the tokens name
	Expires  time.Time `json:"expires"`
}

const (
	demoEmail  = "demo@tenon.localhost"
	demoSlug   = "demo"
	demoExpiry = 365 * 24 * time.Hour
)

// openDemoTenant reads the demo tenant of a data folder, or makes it. Tokens are made anew when they run out or the address has changed.
func openDemoTenant(ctx context.Context, l *local, data string) (*demoTenant, error) {
	path := filepath.Join(data, "demo.json")
	demo := &demoTenant{}
	text, err := os.ReadFile(path) //nolint:gosec // our own folder
	switch {
	case errors.Is(err, fs.ErrNotExist):
		*demo = demoTenant{Email: demoEmail, Password: rand.Text(), Tenant: demoSlug}
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, demo); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	const soon = 24 * time.Hour
	if demo.API != "" && demo.Address == l.Address() && time.Until(demo.Expires) > soon {
		return demo, nil
	}
	if err := demo.fill(ctx, l); err != nil {
		return nil, fmt.Errorf("make the demo tenant: %w", err)
	}
	if text, err = json.MarshalIndent(demo, "", "  "); err != nil {
		return nil, err
	}
	const ownerOnly = 0o600
	return demo, os.WriteFile(path, append(text, '\n'), ownerOnly)
}

func (d *demoTenant) fill(ctx context.Context, l *local) error {
	var user identity.User
	session, err := l.Identity.SignIn(ctx, d.Email, d.Password)
	if err != nil {
		session, err = l.Identity.SignUp(ctx, d.Email, d.Password, "Demo")
	}
	if err != nil {
		return err
	}
	user = session.User
	caller := authn.Principal{Kind: authn.KindUser, UserID: user.ID, Role: authz.RoleUser}
	tenant, err := d.tenant(ctx, l, caller)
	if err != nil {
		return err
	}
	caller.TenantID, caller.Tenant, caller.Role = tenant.Number, tenant.ID, authz.RoleOwner
	if _, d.API, err = l.Identity.CreateToken(ctx, caller, identity.NewToken{Name: "demo", Kind: authn.KindAPI, Role: authz.RoleDeveloper, Lifetime: demoExpiry}); err != nil {
		return err
	}
	if _, d.Worker, err = l.Identity.CreateToken(ctx, caller, identity.NewToken{Name: "demo worker", Kind: authn.KindWorker, Lifetime: demoExpiry}); err != nil {
		return err
	}
	d.Address, d.Expires = l.Address(), time.Now().Add(demoExpiry)
	return nil
}

func (d *demoTenant) tenant(ctx context.Context, l *local, caller authn.Principal) (identity.Tenant, error) {
	memberships, _, err := l.Identity.ListTenants(ctx, caller, identity.Page{})
	if err != nil {
		return identity.Tenant{}, err
	}
	for _, m := range memberships {
		if m.Tenant.Slug == d.Tenant {
			return m.Tenant, nil
		}
	}
	return l.Identity.CreateTenant(ctx, caller, d.Tenant, "Demo")
}
