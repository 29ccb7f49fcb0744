package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tenon-run/tenon/internal/fault"
)

const (
	// DefaultLimit is the most bytes of a payload: 4 MiB.
	DefaultLimit = 4 << 20
	// InlineLimit is the most bytes of a payload that stands in its row and travels in messages: 32 KiB. A larger one goes to the payload table.
	InlineLimit = 32 << 10
	// MaxDepth is how deep arrays and objects may nest: 1,000.
	MaxDepth = 1000
)

// The reasons of Check's faults.
const (
	ReasonTooLarge = "PAYLOAD_TOO_LARGE"
	ReasonNotUTF8  = "PAYLOAD_NOT_UTF8"
	ReasonNUL      = "PAYLOAD_HAS_NUL"
	ReasonTooDeep  = "PAYLOAD_TOO_DEEP"
	ReasonNotJSON  = "PAYLOAD_NOT_JSON"
)

// Check tells whether b may be stored as a payload: one JSON value of any kind, at most limit bytes (zero or less: 4 MiB), valid UTF-8, no NUL
// character in either spelling, nested at most 1,000 deep. The error is a CodeInvalid fault whose reason says which rule is broken; it quotes
// nothing of the payload and names no field: the caller knows where the payload stood.
func Check(b []byte, limit int) error {
	if limit <= 0 {
		limit = DefaultLimit
	}
	if len(b) > limit {
		return fault.Invalid(ReasonTooLarge,
			fmt.Sprintf("the payload has %d bytes, at most %d are allowed: store large data elsewhere and pass a reference to it", len(b), limit))
	}
	if !utf8.Valid(b) {
		return fault.Invalid(ReasonNotUTF8, "the payload is not valid UTF-8: encode binary data, for example as base64")
	}
	if err := scan(b); err != nil {
		return err
	}
	if !json.Valid(b) {
		return notJSON(b)
	}
	return nil
}

// scan finds NUL characters and too deep nesting. It comes before the parser, whose own depth limit would give a misleading error.
func scan(b []byte) error {
	if at := bytes.IndexByte(b, 0); at >= 0 {
		return hasNUL(at)
	}
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inString && c == '\\':
			if bytes.HasPrefix(b[i+1:], []byte("u0000")) {
				return hasNUL(i)
			}
			i++ // the escaped character, which may be a quote or another backslash
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fault.Invalid(ReasonTooDeep, fmt.Sprintf("the payload nests arrays and objects more than %d deep (at byte %d): flatten it", MaxDepth, i))
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func hasNUL(at int) error {
	return fault.Invalid(ReasonNUL, fmt.Sprintf("the payload has a NUL character at byte %d, which cannot be stored: leave it out or encode the text", at))
}

func notJSON(b []byte) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return fault.Invalid(ReasonNotJSON, `the payload is empty: send a JSON value, for example null or {}`)
	}
	var raw json.RawMessage
	if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(b, &raw)); ok {
		return fault.Invalid(ReasonNotJSON, fmt.Sprintf("the payload is not valid JSON: the error is at byte %d of %d", syntax.Offset, len(b)))
	}
	return fault.Invalid(ReasonNotJSON, "the payload is not valid JSON")
}
