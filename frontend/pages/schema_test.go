package pages

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const orderSchema = `{"type": "object", "required": ["id", "kind"], "properties": {
	"id": {"type": "string", "title": "Order", "description": "As the shop has it"}, "count": {"type": "integer", "default": 3},
	"kind": {"enum": ["new", 7]}, "urgent": {"type": "boolean"}, "lines": {"type": "array"}}}`

func TestFieldsOfASchema(t *testing.T) {
	want := []Field{
		{Name: "id", Title: "Order", Hint: "As the shop has it", Kind: "text", Required: true},
		{Name: "count", Title: "count", Kind: "integer", Value: "3"},
		{Name: "kind", Title: "kind", Kind: "choice", Required: true, Choices: []string{`"new"`, "7"}},
		{Name: "urgent", Title: "urgent", Kind: "boolean"},
		{Name: "lines", Title: "lines", Kind: "json"},
	}
	if diff := cmp.Diff(want, Fields(orderSchema)); diff != "" {
		t.Error(diff)
	}
	if got := Fields(`{"type": "string"}`); len(got) != 1 || got[0].Kind != "text" || got[0].Title != "Input" {
		t.Errorf("a plain text's fields are %v", got)
	}
	for _, none := range []string{"", "true", `{"type": "array"}`, `{"oneOf": []}`, "{"} {
		if got := Fields(none); got != nil {
			t.Errorf("the fields of %q are %v", none, got)
		}
	}
}

func TestComposeInput(t *testing.T) {
	for name, c := range map[string]struct {
		sent map[string]string
		want string
		bad  bool
	}{
		"all":           {map[string]string{"field.id": `a"b`, "field.count": "12345678901234567890", "field.kind": `"new"`, "field.urgent": "true", "field.lines": "[1]"}, `{"id":"a\"b","count":12345678901234567890,"kind":"new","urgent":true,"lines":[1]}`, false},
		"the least":     {map[string]string{"field.id": "x", "field.kind": "7"}, `{"id":"x","kind":7,"urgent":false}`, false},
		"no choice":     {map[string]string{"field.id": "x"}, "", true},
		"not a number":  {map[string]string{"field.id": "x", "field.kind": "7", "field.count": "three"}, "", true},
		"broken object": {map[string]string{"field.id": "x", "field.kind": "7", "field.lines": "[1"}, "", true},
	} {
		got, err := Compose(Fields(orderSchema), func(key string) string { return c.sent[key] })
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := Compose(Fields(`{"type": "string"}`), func(string) string { return "Ada" }); got != `"Ada"` || err != nil {
		t.Errorf("a plain text: %q, %v", got, err)
	}
}

func TestDifference(t *testing.T) {
	got := difference("a\nb\nc\nd\ne\nf\ng", "a\nb\nc\nd\ne\nx\ng\nh")
	want := []change{{"kept", "c"}, {"kept", "d"}, {"kept", "e"}, {"gone", "f"}, {"new", "x"}, {"kept", "g"}, {"new", "h"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(change{})); diff != "" {
		t.Error(diff)
	}
	if got := difference("same", "same"); len(got) != 0 {
		t.Errorf("the same text differs: %v", got)
	}
}
