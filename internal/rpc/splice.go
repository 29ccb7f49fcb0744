package rpc

import (
	"encoding/json"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// direction is what a splice does with payloads.
type direction uint8

const (
	// toStandard turns {"input": 1} into {"inputJson": "1"}.
	toStandard direction = iota
	// toShort turns {"inputJson": "1"} into {"input": 1}, and leaves empty payloads out.
	toShort
)

// spliced is a rewritten text with what was replaced, in order.
type spliced struct {
	text  []byte
	edits []edit
}

// edit says that the original's bytes [from, to) stand in the new text as [newFrom, newTo).
type edit struct{ from, to, newFrom, newTo int }

// original returns the offset in the original text for one in the new text; within a replaced part, the part's start.
func (s spliced) original(offset int) int {
	shift := 0
	for _, done := range s.edits {
		if offset < done.newFrom {
			break
		}
		if offset < done.newTo {
			return done.from
		}
		shift = done.to - done.newTo
	}
	return offset + shift
}

// splicer rewrites a text while the scanner walks over it. What stays the same is copied in whole stretches.
type splicer struct {
	scanner

	way    direction
	out    []byte
	copied int
	edits  []edit
}

// splice rewrites the JSON text of a message. Without payloads to rewrite, the text itself is returned.
func splice(text []byte, root *shape, way direction) (spliced, error) {
	s := splicer{scanner: scanner{text: text}, way: way}
	s.space()
	if err := s.message(root, 0); err != nil {
		return spliced{}, err
	}
	if s.space(); s.pos < len(text) {
		return spliced{}, s.unexpected("the end of the text")
	}
	if len(s.edits) == 0 {
		return spliced{text: text}, nil
	}
	return spliced{text: append(s.out, text[s.copied:]...), edits: s.edits}, nil
}

// message rewrites one message. What is no object is left for protojson to judge.
func (s *splicer) message(known *shape, depth int) error {
	if known == nil || s.peek() != '{' {
		return s.value(depth)
	}
	forms := make(map[protoreflect.FieldNumber]bool) // by payload: was it inline?
	kept := false                                    // whether a member stands before this one
	drop := -1                                       // where a left-out first member begins; what follows it moves there
	return s.members(depth, func(keyStart, keyEnd int) error {
		if drop >= 0 {
			s.replace(drop, keyStart, nil)
			drop = -1
		}
		key, err := s.unquote(keyStart, keyEnd)
		if err != nil {
			return err
		}
		named := known.fields[key]
		switch {
		case named == nil:
			kept = true
			return s.value(depth + 1)
		case named.message != nil:
			kept = true
			return s.below(named, depth+1)
		case s.way == toStandard:
			return s.standard(named, key, keyStart, depth+1, forms)
		default:
			gone, err := s.short(named, keyStart, depth+1)
			if err != nil || !gone {
				kept = kept || !gone
				return err
			}
			if kept {
				s.replace(s.commaBefore(keyStart), s.pos, nil)
			} else if drop = keyStart; s.last() {
				s.replace(drop, s.pos, nil)
				drop = -1
			}
			return nil
		}
	})
}

// below rewrites the messages that a field holds.
func (s *splicer) below(named *field, depth int) error {
	known := shapeOf(named.message)
	switch {
	case named.many == array && s.peek() == '[':
		return s.elements(depth, func() error { return s.message(known, depth+1) })
	case named.many == object && s.peek() == '{':
		return s.members(depth, func(_, _ int) error { return s.message(known, depth+1) })
	default:
		return s.message(known, depth)
	}
}

// standard turns an inline payload into its string. Both forms of one payload are one too many.
func (s *splicer) standard(named *field, key string, keyStart, depth int, forms map[protoreflect.FieldNumber]bool) error {
	inline := named.short != "" && key != named.standard && !hasJSONSuffix(key)
	if before, twice := forms[named.number]; twice && before != inline {
		return s.fail(keyStart, "%q and %q are two forms of one field; send one of them", named.short, named.standard)
	}
	forms[named.number] = inline
	start := s.pos
	if err := s.value(depth); err != nil {
		return err
	}
	if inline {
		member := append(appendQuoted(nil, []byte(named.standard)), ':')
		s.replace(keyStart, s.pos, appendQuoted(member, s.text[start:s.pos]))
	}
	return nil
}

// hasJSONSuffix tells the long keys ("inputJson", "input_json") from the short ones, which never end so: a payload is one suffix, not two.
func hasJSONSuffix(key string) bool {
	return len(key) > 4 && (key[len(key)-4:] == "Json" || key[len(key)-4:] == "json")
}

// short turns a payload's string into inline JSON. It reports whether the payload is empty, to be left out. A string that is not JSON stays as
// it is.
func (s *splicer) short(named *field, keyStart, depth int) (gone bool, err error) {
	start := s.pos
	if err := s.value(depth); err != nil {
		return false, err
	}
	payload, err := s.unquote(start, s.pos)
	if err != nil || named.short == "" {
		return false, err
	}
	if payload == "" {
		return true, nil
	}
	if json.Valid([]byte(payload)) {
		member := append(appendQuoted(nil, []byte(named.short)), ':')
		s.replace(keyStart, s.pos, append(member, payload...))
	}
	return false, nil
}

// replace puts text in the place of the original's bytes [from, to).
func (s *splicer) replace(from, to int, text []byte) {
	s.out = append(s.out, s.text[s.copied:from]...)
	s.edits = append(s.edits, edit{from: from, to: to, newFrom: len(s.out), newTo: len(s.out) + len(text)})
	s.out = append(s.out, text...)
	s.copied = to
}

// commaBefore returns the offset of the comma before a member.
func (s *splicer) commaBefore(offset int) int {
	for offset > 0 && s.text[offset] != ',' {
		offset--
	}
	return offset
}

// last reports whether the object ends after the member just read.
func (s *splicer) last() bool {
	ahead := scanner{text: s.text, pos: s.pos}
	ahead.space()
	return ahead.peek() == '}'
}

// unquote returns the contents of the JSON string that stands at [start, end), quotes included.
func (s *splicer) unquote(start, end int) (string, error) {
	for _, char := range s.text[start:end] {
		if char == '\\' {
			var text string
			if err := json.Unmarshal(s.text[start:end], &text); err != nil {
				return "", s.fail(start, "the string is not valid")
			}
			return text, nil
		}
	}
	return string(s.text[start+1 : end-1]), nil
}

// appendQuoted appends text as a JSON string that reads back as exactly the same bytes.
func appendQuoted(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i, char := range text {
		if char >= ' ' && char != '"' && char != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		if char < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', hex[char>>4], hex[char&15])
		} else {
			dst = append(dst, '\\', char)
		}
	}
	return append(append(dst, text[from:]...), '"')
}
