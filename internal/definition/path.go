package definition

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/tenon-run/tenon/internal/flow"
)

// join appends a relative path: a field after a dot, an index as it is.
func join(path, rest string) string {
	switch {
	case path == "":
		return rest
	case rest == "" || rest[0] == '[':
		return path + rest
	default:
		return path + "." + rest
	}
}

// key is an object's key as part of a path: plain where it reads like a name, quoted in brackets where it does not.
func key(name string) string {
	const most = 100
	plain := name != "" && len(name) <= most
	for _, c := range name {
		if c != '_' && c != '-' && c != '$' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			plain = false
			break
		}
	}
	if plain {
		return name
	}
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "..."
	}
	return "[" + strconv.Quote(name) + "]"
}

// locate turns the tokens of a JSON pointer into a path. The document tells an index from a key that is a number.
func locate(path string, doc any, tokens []string) string {
	for _, token := range tokens {
		switch v := doc.(type) {
		case []any:
			path = join(path, "["+token+"]")
			doc = nil
			if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(v) {
				doc = v[i]
			}
		case map[string]any:
			path = join(path, key(token))
			doc = v[token]
		default:
			path = join(path, key(token))
			doc = nil
		}
	}
	return path
}

// pointerPath turns a location inside the schema ("...#/properties/a") into a path.
func pointerPath(doc any, location string) string {
	_, pointer, _ := strings.Cut(location, "#")
	if pointer == "" {
		return ""
	}
	tokens := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, token := range tokens {
		if plain, err := url.PathUnescape(token); err == nil {
			token = plain
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
	}
	return locate("", doc, tokens)
}

// walk calls visit for every value of a document, outermost first, until one has a fault. Of several faults in one object any may be found.
func walk(path string, value any, depth int, visit func(path string, value any, depth int) *flow.Fault) *flow.Fault {
	if f := visit(path, value, depth); f != nil {
		return f
	}
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			if !inner(item) {
				continue
			}
			if f := walk(join(path, fmt.Sprintf("[%d]", i)), item, depth+1, visit); f != nil {
				return f
			}
		}
	case map[string]any:
		for name, item := range v {
			if !inner(item) {
				continue
			}
			if f := walk(join(path, key(name)), item, depth+1, visit); f != nil {
				return f
			}
		}
	}
	return nil
}

// inner tells whether a value needs a visit: texts, truth values and short plain numbers have nothing to be found, and a path for each would cost.
func inner(value any) bool {
	switch v := value.(type) {
	case []any, map[string]any:
		return true
	case json.Number:
		return !small(v)
	default:
		return false
	}
}

// small tells whether a number is short and has at most two digits of exponent.
func small(n json.Number) bool {
	at := strings.IndexAny(string(n), "eE")
	return len(n) <= maxDigits && (at < 0 || len(n)-at <= len("e-99"))
}

// numberFault refuses numbers that would take long to work out exactly: 1e999999 is eight bytes and a million digits.
func numberFault(path string, value any) *flow.Fault {
	n, ok := value.(json.Number)
	if !ok || small(n) {
		return nil
	}
	digits, exponent, _ := strings.Cut(strings.ToLower(string(n)), "e")
	if len(digits) > maxDigits {
		return &flow.Fault{Path: path, Message: fmt.Sprintf("is a number of more than %d digits, which is not checked against a schema: send it as text", maxDigits)}
	}
	if e, err := strconv.Atoi(strings.TrimPrefix(exponent, "+")); exponent != "" && (err != nil || e > maxExponent || e < -maxExponent) {
		message := fmt.Sprintf("is a number with an exponent beyond %d, which is not checked against a schema: send it as text", maxExponent)
		return &flow.Fault{Path: path, Message: message}
	}
	return nil
}
