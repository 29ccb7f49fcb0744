package rpc

import (
	"bytes"
	"fmt"
)

// maxDepth bounds how deep JSON may nest, in a request and in a payload: 1,000 levels.
const maxDepth = 1_000

// scanner walks over JSON text (RFC 8259) without making values of it. Each method starts at pos, leaves pos behind what it read, and
// fails at the first byte that is not JSON.
type scanner struct {
	text []byte
	pos  int
}

func (s *scanner) fail(offset int, format string, args ...any) error {
	return fmt.Errorf("%s: %s", placeOf(s.text, offset), fmt.Sprintf(format, args...))
}

// unexpected names the byte at pos, without echoing more of the text.
func (s *scanner) unexpected(wanted string) error {
	if s.pos >= len(s.text) {
		return s.fail(s.pos, "the text ends where %s should stand", wanted)
	}
	return s.fail(s.pos, "%q stands where %s should", rune(s.text[s.pos]), wanted)
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the byte at pos, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) expect(char byte) error {
	if s.pos >= len(s.text) || s.text[s.pos] != char {
		return s.unexpected(fmt.Sprintf("%q", rune(char)))
	}
	s.pos++
	return nil
}

// value skips one value of any kind.
func (s *scanner) value(depth int) error {
	switch char := s.peek(); {
	case char == '{':
		return s.members(depth, func(_, _ int) error { return s.value(depth + 1) })
	case char == '[':
		return s.elements(depth, func() error { return s.value(depth + 1) })
	case char == '"':
		return s.str()
	case char == '-' || '0' <= char && char <= '9':
		return s.number()
	case char == 't':
		return s.literal("true")
	case char == 'f':
		return s.literal("false")
	case char == 'n':
		return s.literal("null")
	default:
		return s.unexpected("a JSON value")
	}
}

// members walks over an object. visit is called at the start of each member's value with the span of its key, quotes included, and must
// read the value.
func (s *scanner) members(depth int, visit func(keyStart, keyEnd int) error) error {
	if depth >= maxDepth {
		return s.fail(s.pos, "nested deeper than %d levels", maxDepth)
	}
	if err := s.expect('{'); err != nil {
		return err
	}
	if s.space(); s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		s.space()
		start := s.pos
		if s.peek() != '"' {
			return s.unexpected("a key in quotes")
		}
		if err := s.str(); err != nil {
			return err
		}
		end := s.pos
		s.space()
		if err := s.expect(':'); err != nil {
			return err
		}
		s.space()
		if err := visit(start, end); err != nil {
			return err
		}
		if s.space(); s.peek() == '}' {
			s.pos++
			return nil
		}
		if s.peek() != ',' {
			return s.unexpected(`"," or "}"`)
		}
		s.pos++
	}
}

// elements walks over an array; visit must read the element at pos.
func (s *scanner) elements(depth int, visit func() error) error {
	if depth >= maxDepth {
		return s.fail(s.pos, "nested deeper than %d levels", maxDepth)
	}
	if err := s.expect('['); err != nil {
		return err
	}
	if s.space(); s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		s.space()
		if err := visit(); err != nil {
			return err
		}
		if s.space(); s.peek() == ']' {
			s.pos++
			return nil
		}
		if s.peek() != ',' {
			return s.unexpected(`"," or "]"`)
		}
		s.pos++
	}
}

// str skips a string.
func (s *scanner) str() error {
	start := s.pos
	s.pos++
	for s.pos < len(s.text) {
		switch char := s.text[s.pos]; {
		case char == '"':
			s.pos++
			return nil
		case char == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case char < ' ':
			return s.fail(s.pos, "a control character (0x%02x) stands in a string; write it as an escape", char)
		default:
			s.pos++
		}
	}
	return s.fail(start, "a string that begins here has no end")
}

func (s *scanner) escape() error {
	start := s.pos
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		s.pos++
		for range 4 {
			if !isHex(s.peek()) {
				return s.fail(start, `\u needs four hexadecimal digits`)
			}
			s.pos++
		}
		return nil
	default:
		return s.fail(start, "an unknown escape")
	}
}

func isHex(char byte) bool {
	return '0' <= char && char <= '9' || 'a' <= char && char <= 'f' || 'A' <= char && char <= 'F'
}

// number skips a number, however large or long.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.pos++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.peek() == 'e' || s.peek() == 'E' {
		s.pos++
		if s.peek() == '+' || s.peek() == '-' {
			s.pos++
		}
		if err := s.digits(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) digits() error {
	start := s.pos
	for '0' <= s.peek() && s.peek() <= '9' {
		s.pos++
	}
	if s.pos == start {
		return s.unexpected("a digit")
	}
	return nil
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.text[s.pos:], []byte(word)) {
		return s.unexpected("a JSON value")
	}
	s.pos += len(word)
	return nil
}
