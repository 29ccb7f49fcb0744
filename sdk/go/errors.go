package tenon

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// Kinds of error that the SDK reports by itself. A retry policy may name them in [WithRetryOn] and [WithNeverRetry].
const (
	// KindError is the kind of an error that names none.
	KindError = "error"
	// KindPanic is the kind of a panic in a task's code; the stack is stored with it.
	KindPanic = "panic"
	// KindBadInput says that the input is not the JSON that the task's Go type expects. Never retried.
	KindBadInput = "bad_input"
	// KindBadOutput says that the output can't be written as JSON or is over the payload limit. Never retried.
	KindBadOutput = "bad_output"
)

// Reasons why a task's context ended; context.Cause tells which.
var (
	// ErrCancelled: a person or a program cancelled the run, or another task's failure did.
	ErrCancelled = errors.New("the run was cancelled")
	// ErrTimedOut: the attempt ran into its execution timeout or the run into its own.
	ErrTimedOut = errors.New("the attempt or its run timed out")
	// ErrSuperseded: the task has been given to another worker; the result would not be used.
	ErrSuperseded = errors.New("the task was given to another worker")
	// ErrOutOfTouch: the worker has not reached the server for the grace, so that others run its tasks by now.
	ErrOutOfTouch = errors.New("the worker lost touch with the server")
	// ErrWorkerStopped: the worker was asked to stop and its drain timeout passed.
	ErrWorkerStopped = errors.New("the worker stopped")
)

// ErrClosed is returned by calls on a closed client.
var ErrClosed = errors.New("tenon: the client is closed")

// TaskError is an error of a task with what the retry policy looks at. [Errorf], [NonRetryable] and [RetryAfter] make it.
type TaskError struct {
	// Kind is what retry_on and never_retry name. Default: "error".
	Kind string
	// NeverRetry says that another attempt is of no use.
	NeverRetry bool
	// RetryAfter replaces the policy's backoff when it is above zero; at most 30 days.
	RetryAfter time.Duration
	// Err is the error itself.
	Err error
}

// Error gives the text of the error within.
func (e *TaskError) Error() string { return e.Err.Error() }

// Unwrap gives the error within.
func (e *TaskError) Unwrap() error { return e.Err }

// Errorf makes an error of a kind; format and args are those of fmt.Errorf, %w included.
func Errorf(kind, format string, args ...any) error {
	return &TaskError{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// NonRetryable marks an error so that the task fails at once, whatever retries are left. It keeps the error's kind. Nil stays nil.
func NonRetryable(err error) error {
	if err == nil {
		return nil
	}
	marked := describe(err)
	return &TaskError{Kind: marked.Kind, NeverRetry: true, RetryAfter: marked.RetryAfter, Err: err}
}

// RetryAfter asks that the next attempt start no earlier than d from now, instead of the policy's backoff. It keeps the error's kind.
// It grants no further retries. Nil stays nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	marked := describe(err)
	return &TaskError{Kind: marked.Kind, NeverRetry: marked.NeverRetry, RetryAfter: d, Err: err}
}

// describe gives what the outermost TaskError of a chain says, or the defaults.
func describe(err error) TaskError {
	out := TaskError{Kind: KindError, Err: err}
	if marked, ok := errors.AsType[*TaskError](err); ok {
		out.NeverRetry, out.RetryAfter = marked.NeverRetry, marked.RetryAfter
		if marked.Kind != "" {
			out.Kind = marked.Kind
		}
	}
	return out
}

// RunError says that a run ended in another state than completed.
type RunError struct {
	RunID    string
	Workflow string
	// Status is failed, cancelled or timed_out.
	Status string
	// Kind, Message and Stack are those of the first failed task; empty when none failed.
	Kind    string
	Message string
	Stack   string
}

// Error tells which run ended how, and why.
func (e *RunError) Error() string {
	text := fmt.Sprintf("run %s of workflow %q ended as %s", e.RunID, e.Workflow, e.Status)
	if e.Message != "" {
		text += fmt.Sprintf(" (%s): %s", e.Kind, e.Message)
	}
	return text
}

func runError(run *runsv1.Run) *RunError {
	return &RunError{
		RunID: run.GetId(), Workflow: run.GetWorkflow(), Status: statusName(run.GetStatus()),
		Kind: run.GetError().GetKind(), Message: run.GetError().GetMessage(), Stack: run.GetError().GetStack(),
	}
}

func statusName(s runsv1.RunStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATUS_"))
}

// RefusedError says that the server refused one item of a batch. connect.CodeOf gives its code.
type RefusedError struct {
	Code connect.Code
	// Reason is stable, for programs: for example "UNKNOWN_WORKFLOW".
	Reason  string
	Message string
	// Field is the path of the field at fault, if one is.
	Field string
}

// Error gives the server's message, with the field if one is at fault.
func (e *RefusedError) Error() string {
	text := e.Code.String() + ": " + e.Message
	if e.Field != "" {
		text += " (field " + e.Field + ")"
	}
	return text
}

// Unwrap gives the refusal as a Connect error, so that connect.CodeOf works.
func (e *RefusedError) Unwrap() error { return connect.NewError(e.Code, errors.New(e.Message)) }

func refusedError(item *runsv1.ItemError) error {
	code := connect.CodeUnknown
	// A code that this SDK does not know stays "unknown".
	_ = code.UnmarshalText([]byte(item.GetCode()))
	return &RefusedError{Code: code, Reason: item.GetReason(), Message: item.GetMessage(), Field: item.GetField()}
}

// BulkError says which items of a bulk call went wrong; the other items went well.
type BulkError struct {
	Items []BulkItem
}

// BulkItem is one failed item of a bulk call.
type BulkItem struct {
	// Index is the item's position in the call, from 0.
	Index int
	// Key is the child's key; empty outside of [Children].
	Key string
	Err error
}

// Error names the first three failed items and counts the rest.
func (e *BulkError) Error() string {
	const most = 3
	var text strings.Builder
	fmt.Fprintf(&text, "%d of the items failed: ", len(e.Items))
	for i, item := range e.Items {
		if i == most {
			fmt.Fprintf(&text, "; and %d more", len(e.Items)-most)
			break
		}
		if i > 0 {
			text.WriteString("; ")
		}
		if item.Key != "" {
			fmt.Fprintf(&text, "child %q: %v", item.Key, item.Err)
		} else {
			fmt.Fprintf(&text, "item %d: %v", item.Index, item.Err)
		}
	}
	return text.String()
}

// Unwrap gives every item's error to errors.Is and errors.As.
func (e *BulkError) Unwrap() []error {
	out := make([]error, len(e.Items))
	for i, item := range e.Items {
		out[i] = item.Err
	}
	return out
}
