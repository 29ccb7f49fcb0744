package proc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Handler does one thing that a child is asked for. What it returns is encoded as JSON.
type Handler func(ctx context.Context, args json.RawMessage) (any, error)

// Handle makes a Handler of a function with typed arguments.
func Handle[Args, Result any](do func(context.Context, Args) (Result, error)) Handler {
	return func(ctx context.Context, text json.RawMessage) (any, error) {
		var args Args
		if err := json.Unmarshal(text, &args); err != nil {
			return nil, fmt.Errorf("read the arguments: %w", err)
		}
		return do(ctx, args)
	}
}

// Serve answers questions from in, one after the other, until in or ctx ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer, handlers map[string]Handler) error {
	lines := make(chan []byte)
	failed := make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			select {
			case lines <- append([]byte(nil), scanner.Bytes()...):
			case <-ctx.Done():
				return
			}
		}
		failed <- scanner.Err()
	}()
	encoder := json.NewEncoder(out)
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, open := <-lines:
			if !open {
				return <-failed
			}
			if err := encoder.Encode(respond(ctx, line, handlers)); err != nil {
				return err
			}
		}
	}
}

func respond(ctx context.Context, line []byte, handlers map[string]Handler) answer {
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return answer{Error: err.Error()}
	}
	handler := handlers[q.Do]
	if handler == nil {
		return answer{Error: "nobody here does " + q.Do}
	}
	result, err := handler(ctx, q.Args)
	if err != nil {
		return answer{Error: orUnnamed(err).Error()}
	}
	text, err := json.Marshal(result)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{OK: text}
}

// orUnnamed makes sure that an error has a text, since an empty one would read as success.
func orUnnamed(err error) error {
	if err.Error() == "" {
		return errors.New("failed without a reason")
	}
	return err
}
