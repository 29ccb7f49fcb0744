package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
)

// Format is how a document is written.
type Format string

// The formats. Table is none of a document: it is for people, and each command draws its own.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// Formats lists the names of all formats.
func Formats() []string { return []string{string(Table), string(JSON), string(YAML)} }

// ParseFormat reads a format's name.
func ParseFormat(name string) (Format, error) {
	if slices.Contains(Formats(), name) {
		return Format(name), nil
	}
	return "", fmt.Errorf("%q is none of %s", name, strings.Join(Formats(), ", "))
}

// Document writes a message in the API's JSON mapping, payloads inline under their short names as curl gets them, or the same as YAML.
func Document(w io.Writer, format Format, message proto.Message) error {
	text, err := mapped(message)
	if err != nil {
		return err
	}
	return write(w, format, text)
}

// Line writes a message as a line of JSON, or as a document of a YAML stream, for answers that come one after another.
func Line(w io.Writer, format Format, message proto.Message) error {
	text, err := mapped(message)
	if err != nil {
		return err
	}
	if format == YAML {
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return write(w, format, text)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// Value writes a value of encoding/json, for answers that are no message of the API.
func Value(w io.Writer, format Format, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return write(w, format, text.Bytes())
}

// Fragment gives a message's JSON in the API's mapping, to stand within a [Value].
func Fragment(message proto.Message) (json.RawMessage, error) { return mapped(message) }

// YAMLText gives a message as YAML.
func YAMLText(message proto.Message) (string, error) {
	var text strings.Builder
	err := Document(&text, YAML, message)
	return text.String(), err
}

func write(w io.Writer, format Format, text []byte) error {
	if format == YAML {
		return writeYAML(w, text)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(text), "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return err
}

// mapped gives a message's JSON on one line, with its payloads inline.
func mapped(message proto.Message) ([]byte, error) {
	text, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	in := inliner{dec: json.NewDecoder(bytes.NewReader(text))}
	in.dec.UseNumber()
	if err := in.value(message.ProtoReflect().Descriptor(), false); err != nil {
		return nil, fmt.Errorf("inline the payloads of a %s: %w", message.ProtoReflect().Descriptor().Name(), err)
	}
	return in.out.Bytes(), nil
}

// inliner copies JSON token by token, so that the order of fields stays, and puts payloads in their place as the text they are, so that their
// numbers keep all digits.
type inliner struct {
	dec *json.Decoder
	out bytes.Buffer
}

// value copies one value, which is a message of this type, a map of such messages, or of no message at all.
func (in *inliner) value(message protoreflect.MessageDescriptor, mapOf bool) error {
	token, err := in.dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		return in.object(message, mapOf)
	case json.Delim('['):
		in.out.WriteByte('[')
		for first := true; in.dec.More(); first = false {
			in.comma(first)
			if err := in.value(message, false); err != nil {
				return err
			}
		}
		in.out.WriteByte(']')
		_, err = in.dec.Token()
		return err
	default:
		return in.scalar(token)
	}
}

func (in *inliner) object(message protoreflect.MessageDescriptor, mapOf bool) error {
	in.out.WriteByte('{')
	for first := true; in.dec.More(); {
		token, err := in.dec.Token()
		if err != nil {
			return err
		}
		key, ok := token.(string)
		if !ok {
			return errors.New("a key is no string")
		}
		var field protoreflect.FieldDescriptor
		if message != nil && !mapOf {
			field = message.Fields().ByJSONName(key)
		}
		if field != nil && payload(field) {
			text, err := in.dec.Token()
			if err != nil {
				return err
			}
			value, _ := text.(string)
			if value == "" {
				continue
			}
			in.comma(first)
			first = false
			if err := in.payload(key, value); err != nil {
				return err
			}
			continue
		}
		in.comma(first)
		first = false
		if err := in.scalar(key); err != nil {
			return err
		}
		in.out.WriteByte(':')
		if err := in.below(message, field, mapOf); err != nil {
			return err
		}
	}
	in.out.WriteByte('}')
	_, err := in.dec.Token()
	return err
}

// below copies the value of a field, or of a map's key.
func (in *inliner) below(message protoreflect.MessageDescriptor, field protoreflect.FieldDescriptor, mapOf bool) error {
	switch {
	case mapOf:
		return in.value(message, false)
	case field == nil:
		return in.value(nil, false)
	case field.IsMap():
		return in.value(field.MapValue().Message(), true)
	default:
		return in.value(field.Message(), false)
	}
}

func (in *inliner) payload(key, value string) error {
	if !json.Valid([]byte(value)) {
		if err := in.scalar(key); err != nil {
			return err
		}
		in.out.WriteByte(':')
		return in.scalar(value)
	}
	if err := in.scalar(strings.TrimSuffix(key, "Json")); err != nil {
		return err
	}
	in.out.WriteByte(':')
	return json.Compact(&in.out, []byte(value))
}

func (in *inliner) comma(first bool) {
	if !first {
		in.out.WriteByte(',')
	}
}

func (in *inliner) scalar(value any) error {
	encoder := json.NewEncoder(&in.out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	in.out.Truncate(in.out.Len() - 1) // the encoder's line feed
	return nil
}

func payload(field protoreflect.FieldDescriptor) bool {
	marked, _ := proto.GetExtension(field.Options(), optionsv1.E_Json).(bool)
	return marked && strings.HasSuffix(field.JSONName(), "Json")
}

// writeYAML writes JSON as YAML in block style, keys in the same order. It goes by JSON's own tokens, since YAML reads JSON's escapes otherwise.
func writeYAML(w io.Writer, text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return err
	}
	const indent = 2
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(indent)
	if err := encoder.Encode(node); err != nil {
		return err
	}
	return encoder.Close()
}

// oldBoolean are the texts that readers of YAML 1.1 take for true or false.
var oldBoolean = regexp.MustCompile(`^(?i:y|n|yes|no|on|off)$`)

func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		node := &yaml.Node{Kind: yaml.MappingNode}
		if token == '[' {
			node.Kind = yaml.SequenceNode
		}
		for dec.More() { // an object's keys and values follow each other, as in the node
			child, err := yamlNode(dec)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		if len(node.Content) == 0 {
			node.Style = yaml.FlowStyle
		}
		_, err := dec.Token()
		return node, err
	case string:
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: token}
		if oldBoolean.MatchString(token) {
			node.Style = yaml.DoubleQuotedStyle
		}
		return node, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: token.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(token)}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: "null"}, nil
	}
}
