// Package typeid writes and reads Tenon's public ids: a type's prefix, an underscore and the 26 characters of a UUID in Crockford's
// base 32, as the TypeID specification (v0.3) lays down. It is part of the wire contract: services, SDKs and dashboard all use it.
package typeid

import (
	"fmt"
	"strings"
)

// The prefixes, one for each kind of object.
const (
	Run     = "run"
	Tenant  = "tnt"
	Token   = "tok"
	User    = "usr"
	Worker  = "wkr"
	Flow    = "wfl"
	Session = "ses"
	Invite  = "inv"
)

const (
	alphabet  = "0123456789abcdefghjkmnpqrstvwxyz"
	suffixLen = 26
)

// Format writes an id, for example "run_01jdx5zv2nf8vr2m0k6zq0v3vw".
func Format(prefix string, id [16]byte) string {
	out := make([]byte, 0, len(prefix)+1+suffixLen)
	out = append(out, prefix...)
	out = append(out, '_')
	// 128 bits in 26 digits of 5 bits: the first digit holds the top three bits.
	var acc uint
	bits := 2 // two leading zero bits make 130
	for _, b := range id {
		acc = acc<<8 | uint(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			out = append(out, alphabet[acc>>bits&31])
		}
		acc &= 1<<bits - 1
	}
	return string(out)
}

// Parse reads an id of the given prefix. The error says what is wrong with the text, without naming the object further.
func Parse(prefix, text string) ([16]byte, error) {
	var id [16]byte
	suffix, ok := strings.CutPrefix(text, prefix+"_")
	if !ok || len(suffix) != suffixLen {
		return id, fmt.Errorf("%q is no id of this kind: it must be %q, an underscore and %d characters", clip(text), prefix, suffixLen)
	}
	if suffix[0] > '7' {
		return id, fmt.Errorf("%q is no id: its first character after the underscore is beyond 7", clip(text))
	}
	var acc uint
	bits := -2
	n := 0
	for i := range suffixLen {
		digit := strings.IndexByte(alphabet, suffix[i])
		if digit < 0 {
			return id, fmt.Errorf("%q is no id: %q is not among its characters", clip(text), suffix[i])
		}
		acc = acc<<5 | uint(digit)
		bits += 5
		if bits >= 8 {
			bits -= 8
			id[n] = byte(acc >> bits)
			n++
			acc &= 1<<bits - 1
		}
	}
	return id, nil
}

func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
