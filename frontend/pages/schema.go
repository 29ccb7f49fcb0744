package pages

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Field is an input that a form asks for, as a JSON Schema describes it.
type Field struct {
	// Name is the property's name; empty is the input itself.
	Name, Title, Hint string
	// Kind is text, number, integer, boolean, choice or json.
	Kind     string
	Required bool
	Choices  []string // JSON texts
	Value    string
}

type schema struct {
	Type        any               `json:"type"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Enum        []json.RawMessage `json:"enum"`
	Default     json.RawMessage   `json:"default"`
	Properties  json.RawMessage   `json:"properties"`
	Required    []string          `json:"required"`
}

// Fields reads the fields of a form from a workflow's input schema. There are none where a form could not say what the schema allows.
func Fields(text string) []Field {
	var root schema
	if text == "" || json.Unmarshal([]byte(text), &root) != nil {
		return nil
	}
	if root.Type != "object" {
		field := root.field("", true)
		if field.Kind == "json" {
			return nil
		}
		return []Field{field}
	}
	names, properties := ordered(root.Properties)
	var out []Field
	for i, name := range names {
		required := false
		for _, one := range root.Required {
			required = required || one == name
		}
		out = append(out, properties[i].field(name, required))
	}
	return out
}

// ordered reads an object's members in the order in which they stand.
func ordered(text json.RawMessage) ([]string, []schema) {
	in := json.NewDecoder(bytes.NewReader(text))
	if _, err := in.Token(); err != nil {
		return nil, nil
	}
	var names []string
	var members []schema
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return nil, nil
		}
		var member schema
		if err := in.Decode(&member); err != nil {
			return nil, nil
		}
		names, members = append(names, fmt.Sprint(name)), append(members, member)
	}
	return names, members
}

func (s schema) field(name string, required bool) Field {
	f := Field{Name: name, Title: s.Title, Hint: s.Description, Required: required, Kind: "json"}
	if f.Title == "" {
		f.Title = name
	}
	if f.Title == "" {
		f.Title = "Input"
	}
	switch s.Type {
	case "string":
		f.Kind = "text"
	case "number", "integer", "boolean":
		f.Kind = fmt.Sprint(s.Type)
	}
	if len(s.Enum) > 0 {
		f.Kind = "choice"
		for _, one := range s.Enum {
			f.Choices = append(f.Choices, string(one))
		}
	}
	if f.Value = string(s.Default); f.Kind == "text" {
		var plain string
		if json.Unmarshal(s.Default, &plain) == nil {
			f.Value = plain
		}
	}
	return f
}

// key is the name under which a form sends the field.
func (f Field) key() string { return "field." + f.Name }

// errField is a field's value that is no JSON of its kind.
var errField = errors.New("a field's value does not fit")

// Compose makes the JSON input from what a form has sent: get returns a field's value by its form's name, and whether it was sent.
func Compose(fields []Field, get func(key string) string) (string, error) {
	var parts []string
	for _, f := range fields {
		value, err := f.json(get(f.key()))
		if err != nil {
			return "", err
		}
		if f.Name == "" {
			return value, nil
		}
		if value == "" {
			continue
		}
		name, err := json.Marshal(f.Name)
		if err != nil {
			return "", fmt.Errorf("pages: write the name of a field: %w", err)
		}
		parts = append(parts, string(name)+":"+value)
	}
	return "{" + strings.Join(parts, ",") + "}", nil
}

// json is a sent value as JSON; empty leaves the property out.
func (f Field) json(value string) (string, error) {
	switch {
	case f.Kind == "boolean":
		return fmt.Sprint(value == "true"), nil
	case f.Kind == "text" && (value != "" || f.Required):
		text, err := json.Marshal(value)
		return string(text), err
	case value == "" && f.Required:
		return "", fmt.Errorf("%w: %s is required", errField, f.Title)
	case value == "":
		return "", nil
	case !json.Valid([]byte(value)):
		return "", fmt.Errorf("%w: %s must be %s, not %q", errField, f.Title, f.Kind, value)
	default:
		return value, nil
	}
}
