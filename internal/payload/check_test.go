package payload_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/payload"
)

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`null`, `0`, `-1.5e300`, `"text"`, `[]`, `{}`, ` {"a": [1, true, "\""]} `, `123456789012345678901234567890.10`, `"\\u0000"`, `"\u00e9 \ud83d\ude00"`,
		`"[[[{{{"`, `{"a":1,"a":2}`, strings.Repeat("[", payload.MaxDepth) + strings.Repeat("]", payload.MaxDepth),
	} {
		if err := payload.Check([]byte(text), 0); err != nil {
			t.Errorf("Check(%.40q) = %v, want nil", text, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	deep := payload.MaxDepth + 1
	for _, c := range []struct{ name, text, reason string }{
		{"empty", "", payload.ReasonNotJSON},
		{"blank", " \n", payload.ReasonNotJSON},
		{"cut off", `{"a":`, payload.ReasonNotJSON},
		{"two values", `1 2`, payload.ReasonNotJSON},
		{"trailing comma", `[1,]`, payload.ReasonNotJSON},
		{"comment", `{} // no`, payload.ReasonNotJSON},
		{"byte order mark", "\ufeff{}", payload.ReasonNotJSON},
		{"NaN", `NaN`, payload.ReasonNotJSON},
		{"leading zero", `01`, payload.ReasonNotJSON},
		{"raw newline in a string", "\"a\nb\"", payload.ReasonNotJSON},
		{"open string ending in a backslash", `"\`, payload.ReasonNotJSON},
		{"NUL byte", "\"a\x00b\"", payload.ReasonNUL},
		{"NUL escape", `"a\u0000b"`, payload.ReasonNUL},
		{"NUL escape in a key", `{"\u0000":1}`, payload.ReasonNUL},
		{"NUL escape after a backslash", `"\\\u0000"`, payload.ReasonNUL},
		{"bad UTF-8", "\"\xff\"", payload.ReasonNotUTF8},
		{"too deep", strings.Repeat("[", deep) + strings.Repeat("]", deep), payload.ReasonTooDeep},
		{"very deep and never closed", strings.Repeat(`{"a":`, 200_000), payload.ReasonTooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := payload.Check([]byte(c.text), 0)
			if !fault.Is(err, fault.CodeInvalid) || !fault.HasReason(err, c.reason) {
				t.Fatalf("Check = %v (reason %q), want an Invalid fault with reason %q", err, fault.Of(err).Reason, c.reason)
			}
		})
	}
}

func TestCheckLimit(t *testing.T) {
	t.Parallel()
	text := []byte(`"` + strings.Repeat("a", 98) + `"`)
	if err := payload.Check(text, 100); err != nil {
		t.Fatalf("100 bytes with limit 100: %v", err)
	}
	if err := payload.Check(text, 99); !fault.HasReason(err, payload.ReasonTooLarge) {
		t.Fatalf("100 bytes with limit 99: %v", err)
	}
	large := []byte(`"` + strings.Repeat("a", payload.DefaultLimit) + `"`)
	if err := payload.Check(large, 0); !fault.HasReason(err, payload.ReasonTooLarge) {
		t.Fatalf("over the default limit: %v", err)
	}
}

// What Check accepts, a parser accepts and decodes to text without NUL; what it refuses for its syntax, no parser accepts.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"\u0000"]}`, `"\\u0000"`, `[`, "\x00", `{"k":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := payload.Check(b, 0)
		if err == nil {
			var text string
			if json.Unmarshal(b, &text) == nil && strings.ContainsRune(text, 0) {
				t.Fatalf("a NUL got through: %q", b)
			}
			if !json.Valid(b) || !utf8.Valid(b) {
				t.Fatalf("accepted %q", b)
			}
			return
		}
		if fault.HasReason(err, payload.ReasonNotJSON) && json.Valid(b) {
			t.Fatalf("refused valid JSON %q: %v", b, err)
		}
	})
}
