package frontend

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
)

// saidCookie holds what a form has done until the next page has told it.
const saidCookie = "tenon_said"

var (
	errSignIn   = errors.New("sign in first")
	errNoToken  = errors.New("this tenant has no such token; it may belong to another tenant")
	errNoMember = errors.New("this tenant has no such member; somebody may have removed them")
	errNoTask   = errors.New("choose at least one task to replay")
)

// done leads on after a form has worked, and has the next page say so.
func (s *site) done(w http.ResponseWriter, r *http.Request, v visitor, target, text string) {
	s.setCookie(w, saidCookie, sealed(v.token, text), 0)
	http.Redirect(w, r, target, http.StatusSeeOther) //nolint:gosec // callers name their own pages, or what safeNext has checked
}

// sealed marks a text as this dashboard's own: another site under the same domain could set the cookie too.
func sealed(token, text string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("tenon said " + text))
	return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + hex.EncodeToString(mac.Sum(nil))
}

// takeSaid returns what the last form has done, and forgets it. Pieces of pages don't tell it.
func (s *site) takeSaid(w http.ResponseWriter, r *http.Request, token string) string {
	value := s.cookie(r, saidCookie)
	if value == "" || part(r) || r.Method != http.MethodGet {
		return ""
	}
	s.setCookie(w, saidCookie, "", -1)
	encoded, _, _ := strings.Cut(value, ".")
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || !hmac.Equal([]byte(value), []byte(sealed(token, string(text)))) {
		return ""
	}
	return string(text)
}
