package registry

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/fault"
)

// A page token is the key that the page ended with, so that the next one begins after it whatever has happened meanwhile: "w:<name>" in a list of
// workflows, "v:<number>:<name>" in one of versions, in base 64. It holds no tenant: a list reads the caller's own rows whatever the token says.
const (
	workflowsToken = "w"
	versionsToken  = "v"
)

func writeWorkflowsToken(last string) string { return encodeToken(workflowsToken + ":" + last) }

// readWorkflowsToken returns the name to go on after, empty for the first page.
func readWorkflowsToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	kind, name, _ := strings.Cut(decodeToken(token), ":")
	if kind != workflowsToken || !definition.IsName(name) {
		return "", badToken()
	}
	return name, nil
}

func writeVersionsToken(name string, last int) string {
	return encodeToken(versionsToken + ":" + strconv.Itoa(last) + ":" + name)
}

// readVersionsToken returns the version below which to go on.
func readVersionsToken(token, name string) (int32, error) {
	parts := strings.SplitN(decodeToken(token), ":", 3)
	if len(parts) != 3 || parts[0] != versionsToken || parts[2] != name {
		return 0, badToken()
	}
	last, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || last < 1 {
		return 0, badToken()
	}
	return int32(last), nil
}

func encodeToken(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// decodeToken returns empty text, which is no token, for what cannot be read.
func decodeToken(token string) string {
	text, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return ""
	}
	return string(text)
}

func badToken() error {
	return fault.InvalidField("page_token", "is not the next_page_token of this list: send it as it came, with the same request, or leave it out to start again")
}
