package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// word gives an enum's value in lower case without its type's name: "timed_out" of RUN_STATUS_TIMED_OUT.
func word(value protoreflect.Enum) string {
	descriptor := value.Descriptor()
	named := descriptor.Values().ByNumber(value.Number())
	if named == nil {
		return strconv.Itoa(int(value.Number()))
	}
	return strings.ToLower(strings.TrimPrefix(string(named.Name()), prefixOf(descriptor)))
}

func prefixOf(descriptor protoreflect.EnumDescriptor) string {
	return strings.TrimSuffix(string(descriptor.Values().ByNumber(0).Name()), "UNSPECIFIED")
}

// words lists the values of an enum but the unspecified one.
func words(descriptor protoreflect.EnumDescriptor) []string {
	var out []string
	for i := range descriptor.Values().Len() {
		if value := descriptor.Values().Get(i); value.Number() != 0 {
			out = append(out, strings.ToLower(strings.TrimPrefix(string(value.Name()), prefixOf(descriptor))))
		}
	}
	return out
}

// enum reads a value of an enum by its word.
func enum(descriptor protoreflect.EnumDescriptor, what, text string) (protoreflect.EnumNumber, error) {
	for i := range descriptor.Values().Len() {
		value := descriptor.Values().Get(i)
		if value.Number() != 0 && strings.EqualFold(text, strings.TrimPrefix(string(value.Name()), prefixOf(descriptor))) {
			return value.Number(), nil
		}
	}
	return 0, badCall("%s %q is none of %s", what, text, strings.Join(words(descriptor), ", "))
}

var (
	roles       = identityv1.Role(0).Descriptor()
	tokenKinds  = identityv1.TokenKind(0).Descriptor()
	runStatuses = runsv1.RunStatus(0).Descriptor()
)

func parseRole(what, text string) (identityv1.Role, error) {
	number, err := enum(roles, what, text)
	return identityv1.Role(number), err
}

// span reads a duration, days among its units: 90d, 12h, 1h30m.
func span(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no duration such as 90d, 12h or 30m", text)
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration such as 90d, 12h or 30m", text)
	}
	return d, nil
}

// moment reads an instant: one in RFC 3339, a date, a date and time of the reader's zone, or how long ago it was.
func (c *cli) moment(flag, text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, c.host.Zone); err == nil {
			return at, nil
		}
	}
	ago, err := span(text)
	if err != nil {
		return time.Time{}, badCall("%s: %q is no instant: give how long ago (2h, 7d), a date (2026-11-25) or RFC 3339", flag, text)
	}
	return c.host.Now().Add(-ago), nil
}

// input reads a run's input: JSON itself, @file, or - for standard input. What is not JSON is refused here, with the place of the fault.
func (c *cli) input(ctx context.Context, text string) (json.RawMessage, error) {
	from := "--input"
	raw := []byte(text)
	var err error
	if path, ok := strings.CutPrefix(text, "@"); ok {
		from = path
		if raw, err = readable(path); err != nil {
			return nil, err
		}
	} else if text == "-" {
		from = "standard input"
		if raw, err = c.readIn(ctx); err != nil {
			return nil, err
		}
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil, badCall("%s is empty: give a JSON value, for example null or {}", from)
	}
	var value json.RawMessage
	if err := json.Unmarshal(raw, &value); err != nil {
		message := fmt.Sprintf("%s is not JSON: %s", from, err)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			message += fmt.Sprintf(" (at byte %d of %d)", syntax.Offset, len(raw))
		}
		if from == "--input" {
			message += `; a text needs its quotes: --input '"text"'`
		}
		return nil, badCall("%s", message)
	}
	return value, nil
}

// pairs reads labels, each given as key=value. What a key and a value may be the server tells.
func pairs(given []string) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil //nolint:nilnil // no labels are a good answer
	}
	labels := make(map[string]string, len(given))
	for _, text := range given {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, badCall("--label %q is no label: give key=value", text)
		}
		if have, ok := labels[key]; ok && have != value {
			return nil, badCall("--label names %q twice, with %q and %q", key, have, value)
		}
		labels[key] = value
	}
	return labels, nil
}

// pairsText is labels on a line.
func pairsText(labels map[string]string) string {
	out := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, show.OneLine(key+"="+labels[key]))
	}
	return strings.Join(out, "  ")
}

// readIn reads standard input to its end, or until ctx ends.
func (c *cli) readIn(ctx context.Context) ([]byte, error) {
	return until(ctx, func() ([]byte, error) {
		const most = 33 << 20 // above the server's limit of a call, which is told better by the server
		return io.ReadAll(io.LimitReader(c.host.In, most))
	})
}

// readLine reads one line of standard input, or until ctx ends.
func (c *cli) readLine(ctx context.Context) (string, error) {
	line, err := until(ctx, func() ([]byte, error) {
		// Byte by byte: what follows the line belongs to whoever reads next.
		var line []byte
		one := make([]byte, 1)
		for {
			n, err := c.host.In.Read(one)
			if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
				return line, nil
			}
			if err != nil {
				return nil, err
			}
			line = append(line, one[:n]...)
		}
	})
	return strings.TrimSpace(string(line)), err
}

// until gives what read gives, unless ctx ends first: a read of a terminal cannot be interrupted otherwise.
func until(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
