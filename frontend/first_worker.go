package frontend

import (
	"net/http"
	"net/url"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

// firstWorker makes what a tenant's first run takes: a worker token and an API token, shown once.
func (s *site) firstWorker(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Title, v.shell.Section = "Your first worker", "overview"
	steps := pages.FirstSteps{Address: s.address(r)}
	for _, wanted := range []struct {
		secret *string
		req    *identityv1.CreateTokenRequest
	}{
		{&steps.WorkerToken, &identityv1.CreateTokenRequest{Name: "first worker", Kind: identityv1.TokenKind_TOKEN_KIND_WORKER}},
		{&steps.APIToken, &identityv1.CreateTokenRequest{
			Name: "first trigger", Kind: identityv1.TokenKind_TOKEN_KIND_API, Role: identityv1.Role_ROLE_DEVELOPER,
		}},
	} {
		answer, err := s.identity.CreateToken(v.call(r), wanted.req)
		if connect.CodeOf(err) == connect.CodePermissionDenied {
			v.shell.Title = "Not allowed"
			s.render(w, r, http.StatusForbidden, pages.Message(v.shell,
				"Your role in this tenant does not allow making tokens. Ask an owner or an admin of the tenant for a worker token and an API token."))
			return
		}
		if err != nil {
			s.fail(w, r, v, err)
			return
		}
		*wanted.secret = answer.GetSecret()
	}
	s.render(w, r, http.StatusOK, pages.FirstWorker(v.shell, steps))
}

// address is where this browser reaches the API: the dashboard's own address.
func (s *site) address(r *http.Request) string {
	address := url.URL{Scheme: "http", Host: r.Host}
	if s.cfg.Secure {
		address.Scheme = "https"
	}
	return address.String()
}
