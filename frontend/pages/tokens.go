package pages

import (
	"strings"
	"time"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

// TokensView is the tenant's tokens at the instant Now, newest first.
type TokensView struct {
	Tokens []*identityv1.Token
	// Next is the token of the page with older ones.
	Next string
	Now  time.Time
}

// TokenForm is a token to be made, as its form shows it again after a refusal.
type TokenForm struct {
	Name, Kind, Role, Scopes, Days, Error string
}

// NewToken is a token that has just been made, with what is shown this once.
type NewToken struct {
	Token   *identityv1.Token
	Secret  string
	Address string
}

func (f TokenForm) kinds() []Choice {
	return []Choice{{"worker", "Worker: serves tasks, and nothing else"}, {"api", "API: for programs that trigger and read runs"}}
}

func roleChoices() []Choice {
	return []Choice{
		{"developer", "Developer: workflows, runs and workers"},
		{"viewer", "Viewer: reads workflows and runs"},
		{"admin", "Admin: all but the tenant itself and its owners"},
		{"owner", "Owner: everything"},
	}
}

func lifetimes() []Choice {
	return []Choice{{"1", "1 day"}, {"7", "7 days"}, {"30", "30 days"}, {"90", "90 days"}, {"365", "1 year"}, {"3650", "10 years"}}
}

func tokenKind(t *identityv1.Token) string {
	if t.GetKind() == identityv1.TokenKind_TOKEN_KIND_WORKER {
		return "Worker"
	}
	return "API"
}

// power is what a token may do, in few words.
func power(t *identityv1.Token) string {
	if t.GetKind() == identityv1.TokenKind_TOKEN_KIND_WORKER {
		return "serves tasks"
	}
	if len(t.GetScopes()) == 0 {
		return RoleName(t.GetRole())
	}
	return RoleName(t.GetRole()) + ": " + strings.Join(t.GetScopes(), ", ")
}

// able says the same of what whoever has the token can do.
func able(t *identityv1.Token) string {
	switch {
	case t.GetKind() == identityv1.TokenKind_TOKEN_KIND_WORKER:
		return "serve tasks of this tenant"
	case len(t.GetScopes()) == 0:
		return "do what the role " + RoleName(t.GetRole()) + " allows"
	default:
		return "do this much of what the role " + RoleName(t.GetRole()) + " allows: " + strings.Join(t.GetScopes(), ", ")
	}
}

func endLabel(t *identityv1.Token) string {
	if t.GetRevokeTime() != nil {
		return "Revoked"
	}
	return "Ends"
}

func tokenStatus(t *identityv1.Token, now time.Time) Status {
	const soon = 7 * 24 * time.Hour
	switch left := t.GetExpireTime().AsTime().Sub(now); {
	case t.GetRevokeTime() != nil:
		return Status{"Revoked", "idle"}
	case left <= 0:
		return Status{"Expired", "idle"}
	case left < soon:
		return Status{"Ends soon", "warn"}
	default:
		return Status{"Good", "ok"}
	}
}

// ParseRole reads a role as forms name it.
func ParseRole(name string) identityv1.Role {
	return identityv1.Role(identityv1.Role_value["ROLE_"+strings.ToUpper(name)])
}

func (n NewToken) workerLines() string {
	return "export TENON_CLIENT_ADDRESS='" + n.Address + "'\nexport TENON_CLIENT_TOKEN='" + n.Secret + "'"
}

func (n NewToken) apiLines() string {
	return "export TENON_API_TOKEN='" + n.Secret + "'\ncurl -s '" + n.Address + "/tenon.runs.v1.RunService/ListRuns' \\\n" +
		"  -H 'Content-Type: application/json' -H \"Authorization: Bearer $TENON_API_TOKEN\" \\\n  -d '{\"pageSize\": 5}'"
}
