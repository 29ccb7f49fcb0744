package frontend

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/frontend/pages"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

const tokensPerPage = 100

func (s *site) showTokens(w http.ResponseWriter, r *http.Request, v visitor) {
	list, err := s.identity.ListTokens(v.call(r), &identityv1.ListTokensRequest{PageSize: tokensPerPage, PageToken: r.URL.Query().Get("page_token")})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	v.shell.Section, v.shell.Title = "tokens", "Tokens"
	s.render(w, r, http.StatusOK, pages.Tokens(v.shell, pages.TokensView{Tokens: list.GetTokens(), Next: list.GetNextPageToken(), Now: s.now()}))
}

func (s *site) askToken(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "tokens"
	s.form(w, r, v, http.StatusOK, "New token", pages.NewTokenForm(v.shell, pages.TokenForm{Kind: "worker", Role: "developer", Days: "90"}))
}

// createToken makes a token and shows it, on the answer itself: it is nowhere else, so no redirect could.
func (s *site) createToken(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "tokens"
	form := pages.TokenForm{
		Name: r.PostForm.Get("name"), Kind: r.PostForm.Get("kind"), Role: r.PostForm.Get("role"), Scopes: r.PostForm.Get("scopes"), Days: r.PostForm.Get("days"),
	}
	req := &identityv1.CreateTokenRequest{Name: form.Name, Kind: identityv1.TokenKind_TOKEN_KIND_WORKER}
	if days, err := strconv.Atoi(form.Days); err == nil && days > 0 {
		req.Lifetime = durationpb.New(time.Duration(days) * 24 * time.Hour)
	}
	if form.Kind == "api" {
		req.Kind, req.Role = identityv1.TokenKind_TOKEN_KIND_API, pages.ParseRole(form.Role)
		req.Scopes = strings.Fields(strings.ReplaceAll(form.Scopes, ",", " "))
	}
	made, err := s.identity.CreateToken(v.call(r), req)
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated:
		s.fail(w, r, v, err)
		return
	default:
	}
	if err != nil {
		status, text := s.problem(r, err)
		form.Error = text
		s.form(w, r, v, status, "New token", pages.NewTokenForm(v.shell, form))
		return
	}
	v.shell.Title = "Token made"
	s.render(w, r, http.StatusOK, pages.TokenMade(v.shell, pages.NewToken{Token: made.GetToken(), Secret: made.GetSecret(), Address: s.address(r)}))
}

func (s *site) askRevoke(w http.ResponseWriter, r *http.Request, v visitor) {
	v.shell.Section = "tokens"
	token, err := s.findToken(r, v, r.PathValue("token"))
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.form(w, r, v, http.StatusOK, "Revoke a token", pages.RevokeToken(v.shell, token, ""))
}

// findToken looks a token up by its id, page by page: the API has no call for one.
func (s *site) findToken(r *http.Request, v visitor, id string) (*identityv1.Token, error) {
	const perPage = 1000
	req := &identityv1.ListTokensRequest{PageSize: perPage}
	for {
		list, err := s.identity.ListTokens(v.call(r), req)
		if err != nil {
			return nil, err
		}
		for _, t := range list.GetTokens() {
			if t.GetId() == id {
				return t, nil
			}
		}
		if req.PageToken = list.GetNextPageToken(); req.GetPageToken() == "" {
			return nil, connect.NewError(connect.CodeNotFound, errNoToken)
		}
	}
}

func (s *site) revokeToken(w http.ResponseWriter, r *http.Request, v visitor) {
	answer, err := s.identity.RevokeToken(v.call(r), &identityv1.RevokeTokenRequest{TokenId: r.PathValue("token")})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.done(w, r, v, string(pages.At(v.tenant, "tokens")), "“"+answer.GetToken().GetName()+"” is revoked.")
}
