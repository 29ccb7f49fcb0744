package pages

import (
	"net/url"
	"strings"

	"github.com/a-h/templ"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

// Shell is the frame around every page.
type Shell struct {
	Title string
	// Stylesheet and Script are the addresses of the assets.
	Stylesheet, Script string
	// CSRF is the token that every form of the page sends along.
	CSRF string
	// Theme is "light" or "dark" where the viewer has chosen one; empty follows the system.
	Theme string
	// User is the address of who is signed in; empty when nobody is.
	User string
	// Tenants are the user's tenants by slug, Tenant the slug of the one shown.
	Tenants []Choice
	Tenant  string
	// Section is the item of the navigation that the page belongs to.
	Section string
	// Role is the viewer's role in the tenant, as it is written: "owner". May says what it allows.
	Role string
	May  May
	// Said is what the last form has done, told once.
	Said string
}

// May says what a viewer is offered. The API decides again about each call: this only keeps away what it would refuse.
type May struct {
	// Run is to trigger, cancel and replay; Workers to pause and drain.
	Run, Workers bool
	// Tokens and Members are to see and to change them.
	Tokens, Members bool
	// Tenant is to rename it.
	Tenant bool
}

// Choice is an option of a select.
type Choice struct{ Value, Label string }

// At is the address of a page of the shown tenant.
func (s Shell) At(parts ...string) templ.SafeURL { return At(s.Tenant, parts...) }

// TenantLabel is how people call the shown tenant.
func (s Shell) TenantLabel() string {
	for _, t := range s.Tenants {
		if t.Value == s.Tenant {
			return t.Label
		}
	}
	return "Choose a tenant"
}

// At is the address of a tenant's page: At("acme", "runs", id) is "/t/acme/runs/…".
func At(tenant string, parts ...string) templ.SafeURL {
	var path strings.Builder
	path.WriteString("/t/" + url.PathEscape(tenant))
	for _, part := range parts {
		path.WriteString("/" + url.PathEscape(part))
	}
	if len(parts) == 0 {
		path.WriteString("/")
	}
	return templ.SafeURL(path.String())
}

// with adds a query to an address; a value that is empty is left out. Pairs are name, value, name, value.
func with(address templ.SafeURL, pairs ...string) templ.SafeURL {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Add(pairs[i], pairs[i+1])
		}
	}
	if len(query) == 0 {
		return address
	}
	return address + templ.SafeURL("?"+query.Encode())
}

// navItem is a page that the navigation leads to; Key is what follows "g" on the keyboard.
type navItem struct{ Section, Label, Icon, Key string }

func (s Shell) nav() []navItem {
	items := []navItem{{"overview", "Overview", "overview", "o"}, {"runs", "Runs", "runs", "r"}, {"workflows", "Workflows", "workflows", "w"}, {"workers", "Workers", "workers", "k"}}
	if s.May.Tokens {
		items = append(items, navItem{"tokens", "Tokens", "tokens", "t"})
	}
	if s.May.Members {
		items = append(items, navItem{"members", "Members", "members", "m"})
	}
	return append(items, navItem{"settings", "Settings", "settings", "e"})
}

func (n navItem) path(s Shell) templ.SafeURL {
	if n.Section == "overview" {
		return s.At()
	}
	return s.At(n.Section)
}

// current marks the link that leads to where the viewer is.
func current(is bool) templ.Attributes {
	if !is {
		return nil
	}
	return templ.Attributes{"aria-current": "page"}
}

func initial(label string) string {
	for _, letter := range label {
		return strings.ToUpper(string(letter))
	}
	return ""
}

// AccountForm is what sign-in and sign-up show again after a refusal. It never holds the password.
// Notice says why the form is shown, when it was not asked for.
type AccountForm struct{ Email, Name, Next, Notice, Error string }

// TenantForm is what a new tenant's form shows again after a refusal.
type TenantForm struct{ Slug, Name, Error string }

// Form is a form that stands on a page or in a dialog.
type Form = templ.Component

// RoleName is a role as people read it.
func RoleName(r identityv1.Role) string {
	name, _ := strings.CutPrefix(r.String(), "ROLE_")
	return strings.ToLower(name)
}
