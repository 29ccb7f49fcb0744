package apidocs

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

// The paths that the handlers are mounted at.
const (
	PagePath  = "/docs/api"
	SpecPath  = "/docs/api/openapi.json"
	StylePath = "/docs/api/style.css"
)

//go:embed api.swagger.json
var described []byte

//go:embed page.html
var pageText string

//go:embed style.css
var style []byte

// Docs are the page and the description, made once.
type Docs struct{ page, spec []byte }

// New reads the description and renders the page.
func New(version string) (*Docs, error) {
	var d map[string]any
	if err := json.Unmarshal(described, &d); err != nil {
		return nil, fmt.Errorf("apidocs: read the description: %w", err)
	}
	d["info"] = map[string]any{
		"title": "Tenon API", "version": version,
		"description": "Each method is a POST of one JSON object. Send a token as \"Authorization: Bearer ...\", and with a session token the tenant as \"Tenon-Tenant: ...\".",
	}
	d["securityDefinitions"] = map[string]any{"token": map[string]any{"type": "apiKey", "in": "header", "name": "Authorization"}}
	d["security"] = []any{map[string]any{"token": []any{}}}
	spec, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return nil, fmt.Errorf("apidocs: write the description: %w", err)
	}
	page, err := render(version)
	if err != nil {
		return nil, fmt.Errorf("apidocs: render the page: %w", err)
	}
	return &Docs{page: page, spec: spec}, nil
}

// Handler serves one of the paths. Nobody needs a token to read what can be called.
func (d *Docs) Handler(path string) http.Handler {
	body, kind := d.page, "text/html; charset=utf-8"
	switch path {
	case SpecPath:
		body, kind = d.spec, "application/json"
	case StylePath:
		body, kind = style, "text/css; charset=utf-8"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(body) // a reader that has gone away is nobody's loss
	})
}

// The parts of the description that the page shows.
type (
	document struct {
		Tags        []tag                           `json:"tags"`
		Paths       map[string]map[string]operation `json:"paths"`
		Definitions map[string]schema               `json:"definitions"`
	}
	tag struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	operation struct {
		Summary     string            `json:"summary"`
		Description string            `json:"description"`
		Tags        []string          `json:"tags"`
		Parameters  []parameter       `json:"parameters"`
		Responses   map[string]answer `json:"responses"`
	}
	parameter struct {
		Schema schema `json:"schema"`
	}
	answer struct {
		Description string `json:"description"`
		Schema      schema `json:"schema"`
	}
	schema struct {
		Ref         string            `json:"$ref"`
		Type        string            `json:"type"`
		Format      string            `json:"format"`
		Title       string            `json:"title"`
		Description string            `json:"description"`
		Enum        []string          `json:"enum"`
		Items       *schema           `json:"items"`
		Properties  map[string]schema `json:"properties"`
	}
)

// What the page's template gets.
type (
	service struct {
		Name, Description string
		Methods           []method
	}
	method struct {
		Name, Path, Anchor, Text, Request, Response string
		Stream                                      bool
	}
	object struct {
		Name, Text string
		Values     []string
		Fields     []field
	}
	field struct{ Name, Type, Ref, Text string }
)

func render(version string) ([]byte, error) {
	var d document
	if err := json.Unmarshal(described, &d); err != nil {
		return nil, err
	}
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = page.Execute(&out, map[string]any{"Version": version, "Services": d.services(), "Objects": d.objects(), "Spec": SpecPath, "Style": StylePath})
	return out.Bytes(), err
}

func (d *document) services() []service {
	services := make([]service, len(d.Tags))
	for i, t := range d.Tags {
		services[i] = service{Name: t.Name, Description: t.Description}
	}
	for _, path := range sorted(d.Paths) {
		op := d.Paths[path]["post"]
		i := slices.IndexFunc(services, func(s service) bool { return slices.Contains(op.Tags, s.Name) })
		if i < 0 {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		m := method{
			Name: name, Path: path, Anchor: services[i].Name + "." + name, Text: strings.TrimSpace(op.Summary + "\n" + op.Description),
		}
		if len(op.Parameters) > 0 {
			m.Request = op.Parameters[0].Schema.name()
		}
		ok := op.Responses["200"].Schema
		if m.Response = ok.name(); m.Response == "" {
			result := ok.Properties["result"]
			m.Response, m.Stream = result.name(), true
		}
		services[i].Methods = append(services[i].Methods, m)
	}
	return services
}

func (d *document) objects() []object {
	var out []object
	for _, name := range sorted(d.Definitions) {
		s := d.Definitions[name]
		o := object{Name: name, Text: s.text(), Values: s.Enum}
		for _, key := range sorted(s.Properties) {
			p := s.Properties[key]
			f := field{Name: key, Type: p.kind(), Ref: p.name(), Text: p.text()}
			if p.Items != nil {
				f.Ref = p.Items.name()
			}
			o.Fields = append(o.Fields, f)
		}
		out = append(out, o)
	}
	return out
}

func (s schema) name() string { return strings.TrimPrefix(s.Ref, "#/definitions/") }

func (s schema) text() string { return strings.TrimSpace(s.Title + "\n" + s.Description) }

// kind is a type in words: "list of Run", "string (int64)".
func (s schema) kind() string {
	switch {
	case s.Ref != "":
		return s.name()
	case s.Items != nil:
		return "list of " + s.Items.kind()
	case s.Format != "":
		return s.Type + " (" + s.Format + ")"
	default:
		return s.Type
	}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
