package identityrpc

import (
	"bytes"
	"net/http"
	"time"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/services/identity"
)

// KeySetPath is where anybody finds the public keys that tokens are signed with, as a JSON Web Key Set.
const KeySetPath = "/.well-known/jwks.json"

// keySet answers from memory but for one read a minute. Caches may keep the answer for five minutes: a new key is published for fifteen before it signs.
func keySet(svc *identity.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Access-Control-Allow-Origin", "*") // public, and readable by any page
		set, err := svc.KeySet(r.Context())
		if err != nil {
			header.Set("Cache-Control", "no-store")
			header.Set("Retry-After", "5")
			http.Error(w, fault.Of(err).Error(), http.StatusServiceUnavailable)
			return
		}
		header.Set("Content-Type", "application/jwk-set+json")
		header.Set("Cache-Control", "public, max-age=300")
		header.Set("ETag", `"`+set.Tag+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(set.JSON))
	})
}
