package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// inlineCodec is the name of the codec whose answers carry payloads inline. Clients never send it: the server switches to it.
const inlineCodec = "json-inline"

// jsonCodec is the standard protobuf JSON mapping, in which a string field marked with (tenon.options.v1.json) may also stand inline
// under its short name: {"input": {"n": 1}} for {"inputJson": "{\"n\": 1}"}. The text is spliced as it is, never parsed into values, so
// that numbers keep all their digits and objects their order and doubled keys.
type jsonCodec struct {
	name string
	// inline makes answers inline too.
	inline bool
}

// Name implements connect.Codec.
func (c jsonCodec) Name() string { return c.name }

// IsBinary says that the encoding is text, which Connect may put into a URL.
func (c jsonCodec) IsBinary() bool { return false }

// Marshal implements connect.Codec.
func (c jsonCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend appends the message to dst; Connect calls it with a pooled buffer.
func (c jsonCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	value, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	shape := shapeOf(value.ProtoReflect().Descriptor())
	if !c.inline || shape == nil {
		return protojson.MarshalOptions{}.MarshalAppend(dst, value) //nolint:wrapcheck // Its text says all.
	}
	text, err := protojson.Marshal(value)
	if err != nil {
		return nil, err //nolint:wrapcheck // As above.
	}
	inlined, err := splice(text, shape, toShort)
	if err != nil {
		return nil, fmt.Errorf("inline the payloads of a %T: %w", message, err)
	}
	return append(dst, inlined.text...), nil
}

// MarshalStable is Marshal without the white space that protojson varies.
func (c jsonCodec) MarshalStable(message any) ([]byte, error) {
	text, err := c.Marshal(message)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("compact a %T: %w", message, err)
	}
	return compact.Bytes(), nil
}

// Unmarshal implements connect.Codec. Its errors name the line and column of the text as the client sent it.
func (c jsonCodec) Unmarshal(text []byte, message any) error {
	value, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("the body is empty; send at least {}")
	}
	standard := spliced{text: text}
	if shape := shapeOf(value.ProtoReflect().Descriptor()); shape != nil {
		var err error
		if standard, err = splice(text, shape, toStandard); err != nil {
			return err
		}
	}
	// Unknown fields and enum values of Connect clients are let through: clients and servers need not be of one version. In what somebody wrote
	// by hand they are a slip of the pen, and a filter that is left out shows more than was asked for.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: !c.inline}).Unmarshal(standard.text, value); err != nil {
		return errors.New(standard.relocate(err.Error(), text))
	}
	return nil
}

// place is how protojson names a position.
var place = regexp.MustCompile(`\(line (\d+):(\d+)\)`)

// relocate turns a position in the rewritten text, as protojson names it, into one in the text that the client sent.
func (s spliced) relocate(message string, original []byte) string {
	message = strings.TrimSpace(strings.TrimPrefix(strings.ReplaceAll(message, "\u00a0", " "), "proto:"))
	found := place.FindStringSubmatchIndex(message)
	if found == nil {
		return message
	}
	line, _ := strconv.Atoi(message[found[2]:found[3]])
	column, _ := strconv.Atoi(message[found[4]:found[5]])
	at := s.original(offsetOf(s.text, line, column))
	return message[:found[0]] + placeOf(original, at) + message[found[1]:]
}

// placeOf names an offset for people: "line 2, column 7", both from 1, columns in bytes.
func placeOf(text []byte, offset int) string {
	before := text[:min(offset, len(text))]
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'))
}

// offsetOf is the inverse of placeOf; protojson counts columns in characters.
func offsetOf(text []byte, line, column int) int {
	offset := 0
	for ; line > 1; line-- {
		next := bytes.IndexByte(text[offset:], '\n')
		if next < 0 {
			return len(text)
		}
		offset += next + 1
	}
	for i := range string(text[offset:]) {
		if column--; column == 0 {
			return offset + i
		}
	}
	return len(text)
}
