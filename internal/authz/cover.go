package authz

import (
	"strings"

	"github.com/casbin/casbin/v2"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
)

// pattern is a set of (object, action) pairs: "*" in either place stands for all.
type pattern struct{ object, action string }

func (p pattern) String() string { return p.object + ":" + p.action }

// Covers returns nil when a token of the role and scopes asked for would allow nothing that p may not do itself, by its role and its scopes. It is
// decided over the policy's lines and not over today's methods, so that it stays right when methods are added.
// The error is PermissionDenied and names the first right that p lacks.
func (a *Authorizer) Covers(p authn.Principal, role string, scopes []string) error {
	own := narrow(a.rights[p.Role], readScopes(p.Scopes))
	for _, right := range narrow(a.rights[role], readScopes(scopes)) {
		if !covered(own, right) {
			return fault.PermissionDenied(ReasonPermissionDenied,
				"a token with the role %q would allow %s, which your own role %q (with its scopes) does not: ask for a lower role or fewer scopes",
				role, right, p.Role)
		}
	}
	return nil
}

// covered reports whether one of the set contains all of want.
func covered(set []pattern, want pattern) bool {
	for _, have := range set {
		if (have.object == "*" || have.object == want.object) && (have.action == "*" || have.action == want.action) {
			return true
		}
	}
	return false
}

// narrow returns what rights and scopes have in common.
func narrow(rights, scopes []pattern) []pattern {
	var common []pattern
	for _, right := range rights {
		for _, scope := range scopes {
			object, sameObject := meet(right.object, scope.object)
			action, sameAction := meet(right.action, scope.action)
			if sameObject && sameAction {
				common = append(common, pattern{object, action})
			}
		}
	}
	return common
}

func meet(a, b string) (string, bool) {
	switch {
	case a == "*":
		return b, true
	case b == "*" || a == b:
		return a, true
	default:
		return "", false
	}
}

// readScopes reads "object:action", "object:*" and "*". None at all means everything.
func readScopes(scopes []string) []pattern {
	if len(scopes) == 0 {
		return []pattern{{"*", "*"}}
	}
	read := make([]pattern, 0, len(scopes))
	for _, scope := range scopes {
		if scope == "*" {
			read = append(read, pattern{"*", "*"})
			continue
		}
		object, action, _ := strings.Cut(scope, ":")
		read = append(read, pattern{object, action})
	}
	return read
}

// rightsOf collects what each role may do in its tenant, inherited rights included.
func rightsOf(enforcer *casbin.SyncedCachedEnforcer) (map[string][]pattern, error) {
	lines, err := enforcer.GetPolicy()
	if err != nil {
		return nil, err
	}
	links, err := enforcer.GetGroupingPolicy()
	if err != nil {
		return nil, err
	}
	own := make(map[string][]pattern)
	for _, line := range lines {
		if line[1] == domainTenants {
			own[line[0]] = append(own[line[0]], pattern{line[2], line[3]})
		}
	}
	parents := make(map[string][]string)
	for _, link := range links {
		parents[link[0]] = append(parents[link[0]], link[1])
	}
	all := make(map[string][]pattern)
	for _, role := range []string{RoleOwner, RoleAdmin, RoleDeveloper, RoleViewer, RoleWorker} {
		seen := map[string]bool{}
		waiting := []string{role}
		for len(waiting) > 0 {
			next := waiting[0]
			waiting = waiting[1:]
			if seen[next] {
				continue
			}
			seen[next] = true
			all[role] = append(all[role], own[next]...)
			waiting = append(waiting, parents[next]...)
		}
	}
	return all, nil
}
