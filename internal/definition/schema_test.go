package definition_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-run/tenon/internal/definition"
	"github.com/tenon-run/tenon/internal/flow"
)

func compile(t *testing.T, text string) *definition.Schema {
	t.Helper()
	s, faults := definition.CompileSchema(text)
	if len(faults) > 0 {
		t.Fatalf("CompileSchema(%.80s) = %q", text, faults)
	}
	return s
}

func TestBadSchemas(t *testing.T) {
	t.Parallel()
	nots := strings.TrimSuffix(strings.Repeat("not.", 101), ".")
	deep := strings.Repeat(`{"not":`, 102) + "true" + strings.Repeat("}", 102)
	for name, test := range map[string]struct{ text, path, message string }{
		"no JSON":            {`{"type":`, "", "not valid JSON"},
		"NUL":                {`{"title": "\u0000"}`, "", "NUL"},
		"a number":           {`1`, "", "object, true or false"},
		"a list":             {`[]`, "", "object, true or false"},
		"too long":           {`{"title": "` + strings.Repeat("a", flow.MaxSchemaBytes) + `"}`, "", "at most 65536"},
		"too deep":           {deep, nots, "more than 100 deep"},
		"unknown type":       {`{"type": "text"}`, "type", "must be one of"},
		"a type deeper":      {`{"properties": {"a": {"items": {"minLength": -1}}}}`, "properties.a.items.minLength", "at least 0"},
		"in a list":          {`{"allOf": [true, {"required": "a"}]}`, "allOf[1].required", "got string, want array"},
		"another draft":      {`{"$schema": "http://json-schema.org/draft-07/schema#"}`, "$schema", "2020-12"},
		"dynamic reference":  {`{"$dynamicRef": "#node"}`, "$dynamicRef", "use $ref"},
		"remote reference":   {`{"$ref": "https://example.com/a.json"}`, "", "outside of this one"},
		"file reference":     {`{"$ref": "file:///etc/passwd"}`, "", "outside of this one"},
		"relative reference": {`{"$ref": "other.json"}`, "", "outside of this one"},
		"missing definition": {`{"$ref": "#/$defs/a"}`, "", "not in the schema"},
		"missing anchor":     {`{"$ref": "#a"}`, "", "not in the schema"},
		"regular expression": {`{"properties": {"a": {"pattern": "("}}}`, "properties.a.pattern", "regex"},
		"look-ahead":         {`{"pattern": "(?=a)"}`, "pattern", "regex"},
		"huge number":        {`{"minimum": 1e999999}`, "minimum", "exponent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, faults := definition.CompileSchema(test.text)
			if s != nil || len(faults) == 0 {
				t.Fatalf("CompileSchema = %v, %q, want faults", s, faults)
			}
			if faults[0].Path != test.path || !strings.Contains(faults[0].Message, test.message) {
				t.Errorf("faults %q, want %q at %q", faults, test.message, test.path)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	s := compile(t, `{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"type": "object", "required": ["id"], "additionalProperties": false,
		"properties": {
			"id": {"type": "integer", "minimum": 1, "maximum": 99999999999999999999},
			"mail": {"type": "string", "pattern": "^[^@]+@[^@]+$", "format": "email"},
			"items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
			"a b": {"const": 1}, "0": {"type": "null"}
		},
		"$defs": {"item": {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 0.01}}}}
	}`)
	for _, test := range []struct {
		input string
		want  []string // "path: part of the message"
	}{
		{`{"id": 1}`, nil},
		{`{"id": 1.0}`, nil},
		{`{"id": 99999999999999999999, "mail": "a@b", "items": [{"n": 0.07}], "a b": 1, "0": null}`, nil},
		{`{"id": 100000000000000000000}`, []string{"run.input.id: at most 99999999999999999999"}},
		{`{"id": 1.5}`, []string{"run.input.id: want integer"}},
		{`{}`, []string{"run.input: missing property 'id'"}},
		{`[]`, []string{"run.input: want object"}},
		{`{"id": 1, "mail": "secret"}`, []string{"run.input.mail: pattern"}},
		{`{"id": 1, "items": [{}, {"n": 0.001}]}`, []string{"run.input.items[1].n: multiple of 1/100"}},
		{`{"id": 1, "a b": 2}`, []string{`run.input["a b"]: value must be 1`}},
		{`{"id": 1, "0": 1}`, []string{"run.input.0: want null"}},
		{`{"id": 1, "x": 1}`, []string{"run.input: additional properties 'x'"}},
		{`{"id": 1e999999}`, []string{"run.input.id: exponent"}},
		{`{"id": ` + strings.Repeat("1", 1001) + `}`, []string{"run.input.id: more than 1000 digits"}},
		{`{"id": `, []string{"run.input: not valid JSON"}},
		{`{"mail": 1, "id": 0}`, []string{"run.input.id: at least 1", "run.input.mail: want string"}},
	} {
		faults := s.Validate([]byte(test.input))
		if len(faults) != len(test.want) {
			t.Errorf("Validate(%.60s) = %q, want %q", test.input, faults, test.want)
			continue
		}
		for _, want := range test.want { // the order of an object's keys is chance
			path, message, _ := strings.Cut(want, ": ")
			found := false
			for _, f := range faults {
				found = found || f.Path == path && strings.Contains(f.Message, message)
				if strings.Contains(f.Message, "secret") {
					t.Errorf("a message quotes the input: %q", f.Message)
				}
			}
			if !found {
				t.Errorf("Validate(%.60s) = %q, want %q", test.input, faults, test.want)
			}
		}
	}
	if faults := s.ValidateAt("runs[3].input", []byte(`{"id": 0}`)); len(faults) != 1 || faults[0].Path != "runs[3].input.id" {
		t.Errorf("ValidateAt = %q", faults)
	}
}

func TestNoSchemaAcceptsAll(t *testing.T) {
	t.Parallel()
	s, faults := definition.CompileSchema("")
	if s != nil || faults != nil || s.Validate([]byte(`"anything"`)) != nil {
		t.Errorf("the empty schema: %v, %q", s, faults)
	}
}

// Schemas that refer to the draft's own metaschema need no network.
func TestMetaschema(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"$ref": "https://json-schema.org/draft/2020-12/schema"}`)
	if faults := s.Validate([]byte(`{"properties": {"a": {"type": "string"}}}`)); len(faults) > 0 {
		t.Error(faults)
	}
	if faults := s.Validate([]byte(`{"properties": {"a": {"type": 1}}}`)); len(faults) == 0 {
		t.Error("a bad schema passed")
	}
}

// A few lines can ask for more work than there is time. Each of these must end with a fault, at once.
func TestExplosions(t *testing.T) {
	t.Parallel()
	var chain strings.Builder
	for i := range 60 {
		fmt.Fprintf(&chain, `"d%d": {"%%s": [{"$ref": "#/$defs/d%d"}, {"$ref": "#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	doubled := func(word, last string) string {
		return `{"$ref": "#/$defs/d0", "$defs": {` + strings.ReplaceAll(chain.String(), "%s", word) + `"d60": ` + last + `}}`
	}
	nested := strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60)
	for name, test := range map[string]struct{ schema, input string }{
		"allOf":       {doubled("allOf", `{"type": "integer"}`), "1"},
		"under not":   {`{"not": ` + `{"$ref": "#/$defs/d0"}, ` + doubled("anyOf", `{"type": "string"}`)[len(`{"$ref": "#/$defs/d0", `):], "1"},
		"recursive":   {`{"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}`, nested},
		"many values": {`{"items": {"type": "string"}}`, "[" + strings.Repeat("1,", 1_500_000) + "1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, faults := definition.CompileSchema(test.schema)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			faults = s.Validate([]byte(test.input))
			if len(faults) != 1 || !strings.Contains(faults[0].Message, "1000000 steps") {
				t.Errorf("faults: %.300q", fmt.Sprint(faults))
			}
		})
	}
}

func TestReferenceToItself(t *testing.T) {
	t.Parallel()
	if faults := compile(t, `{"$ref": "#"}`).Validate([]byte("1")); len(faults) != 1 || !strings.Contains(faults[0].Message, "cycle") {
		t.Errorf("faults: %q", faults)
	}
}

// A copy of the schema that was stopped half way is as good as new.
func TestValidateAfterTooManySteps(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"items": {"type": "integer"}}`)
	if faults := s.Validate([]byte("[" + strings.Repeat("1,", 1_500_000) + "1]")); len(faults) != 1 {
		t.Fatalf("%d faults, want the one about the steps", len(faults))
	}
	if faults := s.Validate([]byte("[1, 2]")); len(faults) > 0 {
		t.Error(faults)
	}
	if faults := s.Validate([]byte(`["a"]`)); len(faults) != 1 || faults[0].Path != "run.input[0]" {
		t.Error(faults)
	}
}

func TestValidateConcurrently(t *testing.T) {
	t.Parallel()
	s := compile(t, `{"properties": {"n": {"type": "integer"}}}`)
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			for range 200 {
				if faults := s.Validate(fmt.Appendf(nil, `{"n": %d}`, i)); len(faults) != 0 {
					t.Error(faults)
				}
				if faults := s.Validate([]byte(`{"n": "a"}`)); len(faults) != 1 {
					t.Error(faults)
				}
			}
		})
	}
	wait.Wait()
}
