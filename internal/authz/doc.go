// Package authz says what a caller may do. Casbin decides over (role, domain, object, action), from a model and a policy that are compiled in;
// the scopes of an API token narrow the decision further. What a method needs stands in its (tenon.options.v1.access) option, and a
// server refuses to start with a method that has none.
//
// internal/rpc enforces it for every call, services/identity asks it which tokens a caller may make. Who a caller is, is internal/authn's question.
package authz
