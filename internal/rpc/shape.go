package rpc

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	optionsv1 "github.com/tenon-run/tenon/proto/tenon/options/v1"
)

// shape is what the splicer knows of a message type: its fields by the keys that JSON may name them with. Types that hold no payload at any
// depth have no shape, and their text is never looked at.
type shape struct {
	fields map[string]*field
}

// field is a payload, or leads to messages that may hold one.
type field struct {
	// number tells fields apart, whatever key they were named with.
	number protoreflect.FieldNumber
	// standard and short are a payload's keys: "inputJson" and "input". Both are empty for other fields.
	standard, short string
	// message is the type below; nil for a payload.
	message protoreflect.MessageDescriptor
	// many is how the messages below stand: alone, in an array, or as the values of an object.
	many form
}

type form uint8

const (
	one form = iota
	array
	object
)

// shapes keeps *shape by full name, nil ones included: types are few and never change.
var shapes sync.Map //nolint:gochecknoglobals // A cache of facts fixed at compile time.

func shapeOf(message protoreflect.MessageDescriptor) *shape {
	if known, ok := shapes.Load(message.FullName()); ok {
		return known.(*shape) //nolint:forcetypeassert // The map holds nothing else.
	}
	var made *shape
	if holdsPayload(message, make(map[protoreflect.FullName]bool)) {
		made = makeShape(message)
	}
	known, _ := shapes.LoadOrStore(message.FullName(), made)
	return known.(*shape) //nolint:forcetypeassert // As above.
}

func holdsPayload(message protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[message.FullName()] || strings.HasPrefix(string(message.FullName()), "google.protobuf.") {
		return false
	}
	seen[message.FullName()] = true
	for i := range message.Fields().Len() {
		described := message.Fields().Get(i)
		if isPayload(described) {
			return true
		}
		if below := below(described); below != nil && holdsPayload(below, seen) {
			return true
		}
	}
	return false
}

func makeShape(message protoreflect.MessageDescriptor) *shape {
	made := &shape{fields: make(map[string]*field)}
	for i := range message.Fields().Len() {
		described := message.Fields().Get(i)
		var entry *field
		switch under := below(described); {
		case isPayload(described):
			entry = &field{
				number: described.Number(), standard: described.JSONName(), short: strings.TrimSuffix(described.JSONName(), "Json"),
			}
			shortText := strings.TrimSuffix(described.TextName(), "_json")
			// A short name that another field has already stays that field's.
			if message.Fields().ByJSONName(entry.short) != nil || message.Fields().ByTextName(shortText) != nil {
				entry.short = ""
			} else {
				made.fields[entry.short], made.fields[shortText] = entry, entry
			}
		case under != nil && holdsPayload(under, make(map[protoreflect.FullName]bool)):
			entry = &field{number: described.Number(), message: under}
			if described.IsMap() {
				entry.many = object
			} else if described.IsList() {
				entry.many = array
			}
		default:
			continue
		}
		made.fields[described.JSONName()], made.fields[described.TextName()] = entry, entry
	}
	return made
}

// isPayload reports whether a field is a single string marked as JSON and named accordingly.
func isPayload(described protoreflect.FieldDescriptor) bool {
	marked, _ := proto.GetExtension(described.Options(), optionsv1.E_Json).(bool)
	return marked && described.Kind() == protoreflect.StringKind && described.Cardinality() != protoreflect.Repeated &&
		strings.HasSuffix(described.TextName(), "_json") && strings.HasSuffix(described.JSONName(), "Json")
}

// below returns the message type that a field holds, one or many; nil for scalars.
func below(described protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if described.IsMap() {
		return described.MapValue().Message()
	}
	return described.Message()
}
