package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Reasons that this package gives by itself.
const (
	ReasonInternal      = "INTERNAL"
	ReasonInvalid       = "INVALID_ARGUMENT"
	ReasonCanceled      = "CANCELED"
	ReasonDeadline      = "DEADLINE_EXCEEDED"
	ReasonNotFound      = "NOT_FOUND"
	ReasonAlreadyExists = "ALREADY_EXISTS"
)

// Error is a failure that may be shown to the caller. Error() and every exported field are public; the cause is not, it is reachable
// only through errors.Is, errors.As and Cause.
type Error struct {
	Code Code
	// Reason is the stable name for programs, in SCREAMING_SNAKE ("RUN_FINAL"). It is never reworded.
	Reason string
	// Message is the text for people: what happened, to which object, what to do.
	Message string
	// Fields names the parts of the request that are wrong; empty unless Code is CodeInvalid.
	Fields []Field
	// Resource is the object the error is about; zero when there is none.
	Resource Resource
	// RetryAfter is how long the caller should wait before it asks again; zero when the server has no opinion.
	RetryAfter time.Duration

	cause error
}

// Field is one wrong part of a request.
type Field struct {
	// Path is the field's path in the request's proto names: "trigger.items[3].input_json".
	Path    string `json:"path"`
	Message string `json:"message"`
}

// Resource names an object: Type is one word of our vocabulary ("run", "workflow"), Name its public id or name.
type Resource struct {
	Type string `json:"type,omitempty"`
	Name string `json:"name,omitempty"`
}

// IsZero reports whether no object is named.
func (r Resource) IsZero() bool { return r == Resource{} }

// Error returns the public text with the fields, and nothing of the cause: what is printed by accident leaks nothing.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(e.Message)
	for i, field := range e.Fields {
		if i == 0 {
			text.WriteString(": ")
		} else {
			text.WriteString("; ")
		}
		text.WriteString(field.Path + ": " + field.Message)
	}
	return text.String()
}

// Unwrap returns the private cause, so that errors.Is and errors.As see through.
func (e *Error) Unwrap() error { return e.cause }

// Cause returns the private cause for the log; nil when there is none.
func (e *Error) Cause() error { return e.cause }

// WithCause returns a copy that keeps err for the log. The public part stays the same.
func (e *Error) WithCause(err error) *Error {
	twin := *e
	twin.cause = err
	return &twin
}

// WithResource returns a copy that names the object.
func (e *Error) WithResource(kind, name string) *Error {
	twin := *e
	twin.Resource = Resource{Type: kind, Name: name}
	return &twin
}

// WithFields returns a copy with more wrong fields.
func (e *Error) WithFields(fields ...Field) *Error {
	twin := *e
	twin.Fields = append(append([]Field(nil), e.Fields...), fields...)
	return &twin
}

// WithRetryAfter returns a copy that tells the caller how long to wait.
func (e *Error) WithRetryAfter(wait time.Duration) *Error {
	twin := *e
	twin.RetryAfter = wait
	return &twin
}

// Of returns the fault in err's chain. An error without one becomes CodeInternal with a text that says nothing about it, except for the
// ends of a context: a deadline gives CodeDeadlineExceeded, a cancellation CodeAborted with the reason CANCELED. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return New(CodeDeadlineExceeded, ReasonDeadline, "the call took longer than its deadline; it may have been carried out").WithCause(err)
	case errors.Is(err, context.Canceled):
		return New(CodeAborted, ReasonCanceled, "the call was cancelled; it may have been carried out").WithCause(err)
	default:
		return New(CodeInternal, ReasonInternal, "an internal error; the server's log has the details").WithCause(err)
	}
}

// Is reports whether err is a fault with this code.
func Is(err error, code Code) bool {
	return err != nil && Of(err).Code == code
}

// HasReason reports whether err is a fault with this reason.
func HasReason(err error, reason string) bool {
	return err != nil && Of(err).Reason == reason
}

// Detail returns err's text for a log, with the private causes that Error() hides. It never goes to a caller.
func Detail(err error) string {
	if err == nil {
		return ""
	}
	var known *Error
	if !errors.As(err, &known) || known.cause == nil {
		return err.Error()
	}
	return fmt.Sprintf("%s [%s %s]: %s", err.Error(), known.Code, known.Reason, Detail(known.cause))
}
