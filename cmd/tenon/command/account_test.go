package command_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	y := newTypist(t)
	email := apptest.Email("acme")
	y.types("whoami")
	y.types("login", "nowhere", "--email", email)
	y.types("login", server.Address)
	y.types("login", server.Address, "--email", email)
	y.pipes("wrong password\n", "login", server.Address, "--email", email)
	y.pipes(server.Password+"\n", "login", server.Address, "--email", email, "--tenant", "other")
	y.pipes(server.Password+"\n", "login", server.Address, "--email", email)
	y.types("whoami")
	y.types("whoami", "-o", "json")
	y.types("profiles", "list")
	y.types("profiles", "use", "production")
	_, secret := server.Token(t, server.Owner, authz.RoleViewer, time.Hour)
	y.pipes(secret, "login", server.Address, "--with-token", "--profile", "reader")
	y.types("login", secret)
	y.pipes("eyJhIjoxfQ.eyJhIjoxfQ.c2lnbmF0dXJl", "login", server.Address, "--with-token", "--profile", "forged")
	_, worker := server.Token(t, server.Owner, "", time.Hour)
	y.pipes(worker, "login", server.Address, "--with-token", "--profile", "worker")
	y.types("whoami")
	y.types("tenants", "use", "acme")
	y.types("profiles", "list", "-o", "yaml")
	y.types("profiles", "use", "default")
	y.types("whoami", "--profile", "nobody")
	y.types("whoami", "--address", "http://127.0.0.1:1")
	y.types("logout", "--profile", "reader")
	y.types("whoami", "--profile", "reader")
	y.types("logout")
	y.types("logout")
	y.golden("login")
	if text := y.transcript.String(); strings.Contains(text, server.Password) || strings.Contains(text, secret[40:]) && !strings.Contains(text, "tenon login "+secret) {
		t.Error("a secret was echoed")
	}
}

// At a terminal what is missing is asked for, and the password is not read from standard input.
func TestLoginAtATerminal(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	y := newTypist(t)
	y.terminal, y.secrets = true, []string{server.Password}
	y.env["NO_COLOR"] = "1"
	y.env["TENON_CLIENT_ADDRESS"] = server.Address
	y.pipes(apptest.Email("acme")+"\n", "login")
	y.golden("login_terminal")
}

// Tokens are kept where nobody else can read them, and a file that others can read is refused.
func TestProfileFileIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	_, y := signedIn(t)
	path := filepath.Join(y.env["TENON_CONFIG_DIR"], "profiles.yaml")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v: %v", info.Mode(), err)
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil || folder.Mode().Perm() != 0o700 {
		t.Fatalf("mode %v: %v", folder.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // that is what is refused
		t.Fatal(err)
	}
	y.types("whoami")
	if err := os.WriteFile(path, []byte("token: eyJsecret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if a := y.types("whoami"); strings.Contains(a.err, "eyJsecret") {
		t.Errorf("the file's contents are shown: %s", a.err)
	}
	y.golden("profile_file")
}

// The environment's token goes before the current profile, and after a profile that is named.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	_, secret := server.Token(t, server.Owner, authz.RoleViewer, time.Hour)
	for name, c := range map[string]struct {
		env, args []string
		want      string // the caller's role
	}{
		"profile":                 {want: "ROLE_OWNER"},
		"token":                   {env: []string{"TENON_CLIENT_TOKEN", secret}, want: "ROLE_VIEWER"},
		"named profile and token": {env: []string{"TENON_CLIENT_TOKEN", secret}, args: []string{"--profile", "default"}, want: "ROLE_OWNER"},
	} {
		t.Run(name, func(t *testing.T) {
			caller := y.with("TENON_CLIENT_ADDRESS", server.Address)
			if c.env != nil {
				caller.env[c.env[0]] = c.env[1]
			}
			a := caller.quietly("", append([]string{"whoami", "-o", "json"}, c.args...)...)
			var who struct{ Role string }
			if err := json.Unmarshal([]byte(a.out), &who); err != nil || who.Role != c.want {
				t.Errorf("exit %d, role %q, want %q: %v\n%s", a.code, who.Role, c.want, err, a.err)
			}
		})
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	other := y.quietly(server.Password, "login", server.Address, "--email", apptest.Email("acme"), "--profile", "other")
	if other.code != 0 {
		t.Fatal(other.err)
	}
	y.types("sessions", "list", "--profile", "default")
	y.types("sessions", "end")
	y.types("sessions", "end", "ses_01h455vb4pex5vsknk084sn02q")
	y.types("sessions", "end", "--others", "--profile", "default")
	y.until(func(a answered) bool { return a.code == 3 }, "sessions", "list", "--profile", "other") // a process may hear of a revocation a moment later
	y.types("sessions", "list", "--profile", "other")
	y.types("sessions", "list", "--profile", "default", "-o", "yaml")
	y.golden("sessions")
}

func TestTenants(t *testing.T) {
	t.Parallel()
	server := apptest.Start(t)
	if _, err := server.Identity.SignUp(t.Context(), "ada@example.com", "correct horse battery", "Ada"); err != nil {
		t.Fatal(err)
	}
	y := newTypist(t)
	y.pipes("correct horse battery", "login", server.Address, "--email", "ada@example.com")
	y.types("tenants", "list")
	y.types("runs", "list")
	y.types("tenants", "create", "acme")
	y.types("tenants", "create", "X")
	y.types("tenants", "create", "lovelace", "--name", "Lovelace & Co")
	y.types("tenants", "create", "engine")
	y.types("tenants", "list")
	y.types("tenants", "use", "acme")
	y.types("tenants", "use", "engine")
	y.types("tenants", "list", "--limit", "1", "-o", "json")
	y.types("whoami", "--tenant", "lovelace")
	y.types("whoami", "--tenant", "acme")
	y.golden("tenants")
}

func TestMembers(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	if _, err := server.Identity.SignUp(t.Context(), "bob@example.com", "correct horse battery", "Bob"); err != nil {
		t.Fatal(err)
	}
	y.types("members", "add", "nobody@example.com")
	y.types("members", "add", "bob@example.com", "--role", "king")
	y.types("members", "add", "bob@example.com", "--role", "viewer")
	y.types("members", "add", "bob@example.com")
	y.types("members", "list")
	y.types("members", "list", "--limit", "1")
	y.types("members", "role", "bob@example.com")
	y.types("members", "role", "Bob@example.com", "admin")
	y.types("members", "role", "carol@example.com", "admin")
	y.types("members", "role", "acme@example.com", "viewer")
	y.types("members", "remove", "bob@example.com")
	y.types("members", "remove", "usr_01h455vb4pex5vsknk084sn02q")
	y.types("members", "list", "-o", "json")
	_, viewer := server.Token(t, server.Owner, authz.RoleViewer, time.Hour)
	denied := y.with("TENON_CLIENT_TOKEN", viewer)
	denied.env["TENON_CLIENT_ADDRESS"] = server.Address
	denied.types("members", "list")
	y.transcript.WriteString(denied.transcript.String())
	y.golden("members")
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	if _, err := server.Identity.SignUp(t.Context(), "bob@example.com", "correct horse battery", "Bob"); err != nil {
		t.Fatal(err)
	}
	y.types("members", "invitations")
	y.types("members", "invite", "--role", "king")
	y.types("members", "invite", "--expires", "soon")
	y.types("members", "invite", "--expires", "31d")
	made := y.types("members", "invite", "--role", "viewer", "--expires", "12h")
	y.types("members", "invite", "-o", "json")
	revoked := y.types("members", "invite")
	id := idText.FindString(revoked.err)
	y.types("members", "uninvite", "inv_01h455vb4pex5vsknk084sn02q")
	y.types("members", "uninvite", id)
	bob := newTypist(t)
	bob.seen = y.seen
	bob.pipes("correct horse battery", "login", server.Address, "--email", "bob@example.com")
	bob.types("tenants", "join", strings.TrimSpace(made.out))
	bob.types("tenants", "join")
	bob.pipes("nonsense", "tenants", "join")
	bob.pipes(revoked.out, "tenants", "join")
	bob.pipes(made.out, "tenants", "join")
	bob.pipes(made.out, "tenants", "join")
	bob.types("tenants", "rename", "Bob's")
	y.transcript.WriteString(bob.settled(bob.transcript.String()))
	y.types("members", "uninvite", idText.FindString(made.err))
	y.types("members", "invitations")
	y.types("members", "invitations", "--limit", "1")
	y.types("tenants", "rename", "Acme & Daughters")
	y.types("tenants", "rename", strings.Repeat("a", 101))
	y.types("tenants", "rename", "Acme", "-o", "json")
	y.golden("invitations")
}

func TestTokens(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	y.types("tokens", "list")
	y.types("tokens", "create", "ci")
	y.types("tokens", "create", "ci", "--role", "developer", "--lifetime", "soon")
	y.types("tokens", "create", "ci", "--role", "developer", "--scope", "no scope")
	y.types("tokens", "create", "greeter", "--kind", "worker", "--role", "viewer")
	made := y.types("tokens", "create", "ci", "--role", "developer", "--scope", "run:*", "--lifetime", "30d")
	y.types("tokens", "create", "greeter", "--kind", "worker", "-o", "json")
	token := y.with("TENON_CLIENT_TOKEN", strings.TrimSpace(made.out))
	token.env["TENON_CLIENT_ADDRESS"] = server.Address
	token.types("whoami")
	token.types("workflows", "list")
	id := idText.FindString(made.err)
	y.types("tokens", "revoke", "tok_01h455vb4pex5vsknk084sn02q")
	y.types("tokens", "revoke", id)
	y.types("tokens", "list")
	token.until(func(a answered) bool { return a.code == 3 }, "runs", "list") // as above
	token.types("runs", "list")
	y.transcript.WriteString(token.transcript.String())
	y.golden("tokens")
}
