package definition

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/payload"
)

const (
	// MaxSchemaDepth is how deep an input schema's text may nest: 100.
	MaxSchemaDepth = 100
	// maxSteps bounds the work of checking one input: values times the subschemas that look at them. A schema of a few lines that refers to itself
	// twice can ask for more steps than there are atoms.
	maxSteps = 1_000_000
	// maxDigits and maxExponent bound the numbers of a checked input and of a schema, which the checker works out exactly.
	maxDigits   = 1000
	maxExponent = 1000
	// idleCheckers is how many compiled copies of a schema are kept for the next inputs.
	idleCheckers = 4

	schemaURL = "tenon:///input-schema"
	draftURL  = "https://json-schema.org/draft/2020-12/schema"
)

// Schema is a workflow's compiled input schema (JSON Schema, draft 2020-12, "format" as an annotation). The nil Schema accepts every input. It may be
// used from several goroutines.
type Schema struct {
	text string
	idle chan *checkerCopy
}

// checkerCopy is one compiled copy of a schema: its step counter belongs to one check at a time.
type checkerCopy struct {
	schema *jsonschema.Schema
	steps  *stepCounter
}

// CompileSchema compiles a schema's text; empty text gives the nil Schema. The faults' paths lead into the schema ("properties.a.type"), and are
// empty for the schema as a whole. References outside of the schema are refused: nothing is ever fetched.
func CompileSchema(text string) (*Schema, []flow.Fault) {
	if text == "" {
		return nil, nil
	}
	doc, f := schemaDoc(text)
	if f != nil {
		return nil, []flow.Fault{*f}
	}
	made, err := compile(doc)
	if err != nil {
		return nil, schemaFaults(doc, err)
	}
	s := &Schema{text: text, idle: make(chan *checkerCopy, idleCheckers)}
	s.idle <- made
	return s, nil
}

func schemaDoc(text string) (any, *flow.Fault) {
	if len(text) > flow.MaxSchemaBytes {
		return nil, &flow.Fault{Message: fmt.Sprintf("the schema has %d bytes, at most %d are allowed", len(text), flow.MaxSchemaBytes)}
	}
	if err := payload.Check([]byte(text), flow.MaxSchemaBytes); err != nil {
		return nil, &flow.Fault{Message: strings.Replace(fault.Of(err).Message, "payload", "schema", 1)}
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, &flow.Fault{Message: "the schema is not valid JSON"}
	}
	if f := walk("", doc, 0, schemaValue); f != nil {
		return nil, f
	}
	switch doc.(type) {
	case map[string]any, bool:
		return doc, nil
	default:
		return nil, &flow.Fault{Message: "a schema is a JSON object, true or false"}
	}
}

// schemaValue checks one value of a schema before the compiler sees it.
func schemaValue(path string, value any, depth int) *flow.Fault {
	if depth > MaxSchemaDepth {
		return &flow.Fault{Path: path, Message: fmt.Sprintf("the schema nests more than %d deep", MaxSchemaDepth)}
	}
	if object, ok := value.(map[string]any); ok {
		if draft, ok := object["$schema"].(string); ok && strings.TrimSuffix(draft, "#") != draftURL {
			return &flow.Fault{Path: join(path, "$schema"), Message: "only draft 2020-12 is known: write " + draftURL + " or leave $schema out"}
		}
		// Their targets depend on the way that led there, which the count of steps cannot follow.
		for _, word := range []string{"$dynamicRef", "$dynamicAnchor"} {
			if _, ok := object[word].(string); ok {
				return &flow.Fault{Path: join(path, word), Message: word + " is not supported: use $ref and $defs"}
			}
		}
	}
	return numberFault(path, value)
}

// noLoader refuses every reference that leaves the schema.
type noLoader struct{}

var errOutside = errors.New("refers to a schema outside of this one: put it under $defs and refer to it there")

// Load implements jsonschema.URLLoader.
func (noLoader) Load(string) (any, error) { return nil, errOutside }

func compile(doc any) (*checkerCopy, error) {
	made := &checkerCopy{steps: &stepCounter{}}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, err
	}
	var err error
	if made.schema, err = c.Compile(schemaURL); err != nil {
		return nil, err
	}
	// Formats are not asserted in this draft, so their place is free; it is looked at before a subschema asks others.
	hook := &jsonschema.Format{Name: "steps", Validate: made.steps.count}
	for _, sub := range subschemas(made.schema) {
		sub.Format = hook
	}
	return made, nil
}

// schemaFaults reads a compiler's error.
func schemaFaults(doc any, err error) []flow.Fault {
	var invalid *jsonschema.ValidationError
	var outside *jsonschema.LoadURLError
	var metaschema *jsonschema.SchemaValidationError
	var regex *jsonschema.InvalidRegexError
	var missing *jsonschema.JSONPointerNotFoundError
	var anchor *jsonschema.AnchorNotFoundError
	switch {
	case errors.As(err, &metaschema) && errors.As(metaschema.Err, &invalid):
		return leaves("", doc, invalid)
	case errors.As(err, &regex):
		message := fmt.Sprintf("%q is no regular expression that can be used here (RE2 syntax)", clip(regex.Regex))
		return []flow.Fault{{Path: pointerPath(doc, regex.URL), Message: message}}
	case errors.As(err, &missing):
		return []flow.Fault{{Message: fmt.Sprintf("refers to %q, which is not in the schema", clip(strings.TrimPrefix(missing.URL, schemaURL)))}}
	case errors.As(err, &anchor):
		return []flow.Fault{{Message: fmt.Sprintf("refers to %q, which is not in the schema", clip(strings.TrimPrefix(anchor.Reference, schemaURL)))}}
	case errors.As(err, &outside):
		return []flow.Fault{{Message: fmt.Sprintf("%q %s", clip(outside.URL), errOutside)}}
	default:
		return []flow.Fault{{Message: "the schema cannot be compiled: " + clip(strings.ReplaceAll(err.Error(), schemaURL, ""))}}
	}
}

// Validate checks an input, which payload.Check has passed. The faults (the first hundred) have paths such as "run.input.a.b".
func (s *Schema) Validate(input []byte) []flow.Fault { return s.ValidateAt("run.input", input) }

// ValidateAt is Validate for an input that stands elsewhere in the request, such as "runs[3].input". Messages quote the schema, and of the input its
// keys alone.
func (s *Schema) ValidateAt(path string, input []byte) []flow.Fault {
	if s == nil {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(input)))
	if err != nil {
		return []flow.Fault{{Path: path, Message: "the input is not valid JSON"}}
	}
	if f := walk(path, value, 0, func(path string, value any, _ int) *flow.Fault { return numberFault(path, value) }); f != nil {
		return []flow.Fault{*f}
	}
	made, err := s.take()
	if err != nil {
		return []flow.Fault{{Path: path, Message: "the workflow's input schema cannot be compiled: declare the workflow again"}}
	}
	err = made.check(value)
	select {
	case s.idle <- made:
	default:
	}
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return leaves(path, value, invalid)
	default:
		return []flow.Fault{{Path: path, Message: err.Error()}}
	}
}

// take returns an idle copy, or a new one when all are at work.
func (s *Schema) take() (*checkerCopy, error) {
	select {
	case made := <-s.idle:
		return made, nil
	default:
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(s.text))
	if err != nil {
		return nil, err
	}
	return compile(doc)
}

var errTooManySteps = fmt.Errorf("takes more than %d steps to check against the workflow's input schema: make the input smaller or the schema simpler",
	maxSteps)

// check runs one validation within the limit of steps. The library has no way to stop it but a panic, which leaves the compiled schema as it was.
func (c *checkerCopy) check(value any) (err error) {
	c.steps.left = maxSteps
	defer func() {
		if stopped := recover(); stopped != nil {
			if stopped != any(errTooManySteps) {
				panic(stopped)
			}
			err = errTooManySteps
		}
	}()
	return c.schema.Validate(value)
}

// stepCounter is hooked into every subschema, and counts the values that it looks at.
type stepCounter struct{ left int }

func (s *stepCounter) count(value any) error {
	s.left--
	switch v := value.(type) {
	case []any:
		s.left -= len(v)
	case map[string]any:
		s.left -= len(v)
	}
	if s.left < 0 {
		panic(errTooManySteps)
	}
	return nil
}

// subschemas lists a compiled schema with all that it leads to, each once.
func subschemas(root *jsonschema.Schema) []*jsonschema.Schema {
	seen := map[*jsonschema.Schema]bool{}
	var list []*jsonschema.Schema
	var add func(s *jsonschema.Schema)
	add = func(s *jsonschema.Schema) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		list = append(list, s)
		for _, sub := range []*jsonschema.Schema{
			s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else, s.PropertyNames, s.UnevaluatedProperties,
			s.Contains, s.Items2020, s.UnevaluatedItems, s.ContentSchema,
		} {
			add(sub)
		}
		if s.DynamicRef != nil {
			add(s.DynamicRef.Ref)
		}
		for _, several := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems} {
			for _, sub := range several {
				add(sub)
			}
		}
		for _, named := range []map[string]*jsonschema.Schema{s.Properties, s.DependentSchemas} {
			for _, sub := range named {
				add(sub)
			}
		}
		for _, sub := range s.PatternProperties {
			add(sub)
		}
		for _, sub := range s.Dependencies {
			addAny(add, sub)
		}
		for _, sub := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
			addAny(add, sub)
		}
	}
	add(root)
	return list
}

func addAny(add func(*jsonschema.Schema), value any) {
	switch v := value.(type) {
	case *jsonschema.Schema:
		add(v)
	case []*jsonschema.Schema:
		for _, sub := range v {
			add(sub)
		}
	}
}

// leaves lists the ends of an error tree: what is wrong, where it is wrong.
func leaves(path string, doc any, e *jsonschema.ValidationError) []flow.Fault {
	var faults []flow.Fault
	var visit func(*jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		if len(faults) >= maxFaults {
			return
		}
		if len(e.Causes) == 0 {
			faults = append(faults, flow.Fault{Path: locate(path, doc, e.InstanceLocation), Message: clip(text(e.ErrorKind))})
			return
		}
		for _, cause := range e.Causes {
			visit(cause)
		}
	}
	visit(e)
	return faults
}

// text words an error. The library's own words are used where they quote the schema only.
func text(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Pattern:
		return fmt.Sprintf("does not match the pattern %q", k.Want)
	case *kind.Format:
		return fmt.Sprintf("is not a valid %s", k.Want)
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		return "must be more than " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		return "must be less than " + k.Want.RatString()
	case *kind.MultipleOf:
		return "must be a multiple of " + k.Want.RatString()
	case *kind.FalseSchema:
		return "nothing is allowed here"
	default:
		return k.LocalizedString(message.NewPrinter(language.English))
	}
}

// clip keeps a message short, and whole characters whole.
func clip(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
