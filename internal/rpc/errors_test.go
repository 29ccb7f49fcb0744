package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tenon-run/tenon/internal/fault"
)

func TestErrorsSurviveTheWire(t *testing.T) {
	t.Parallel()
	for _, sent := range []*fault.Error{
		fault.NotFound("run", "run_1"),
		fault.AlreadyExists("tenant", "acme"),
		fault.Invalid("BAD_GRAPH", "the workflow is not valid",
			fault.Field{Path: "workflow.tasks[1].parents[0]", Message: "names no task"}, fault.Field{Path: "workflow.name", Message: "is empty"}),
		fault.FailedPrecondition("RUN_FINAL", "run %s is final", "run_1"),
		fault.Unauthenticated("TOKEN_EXPIRED", "the token has expired"),
		fault.PermissionDenied("ROLE", "viewers may not"),
		fault.ResourceExhausted("RATE_LIMITED", "slow down").WithRetryAfter(1500 * time.Millisecond),
		fault.Aborted("LOST_RACE", "somebody else was faster"),
		fault.Unavailable("NO_OWNER", "nobody owns the shard"),
		fault.New(fault.CodeDeadlineExceeded, "DEADLINE_EXCEEDED", "too slow"),
		fault.New(fault.CodeInternal, "INTERNAL", "an internal error"),
	} {
		public := ToConnect(fmt.Errorf("wrapped: %w", sent.WithCause(errors.New("pq: password of tenon"))), "")
		if strings.Contains(public.Message(), "pq:") || strings.Contains(public.Message(), "wrapped") {
			t.Errorf("%s: the public text holds private things: %s", sent.Code, public.Message())
		}
		got := FromConnect(fmt.Errorf("call: %w", public)).WithCause(nil)
		if diff := cmp.Diff(sent, got, cmpopts.IgnoreUnexported(fault.Error{})); diff != "" {
			t.Errorf("%s: came back different (-sent +got):\n%s", sent.Code, diff)
		}
	}
}

func TestToConnectOfOtherErrors(t *testing.T) {
	t.Parallel()
	tooLarge := connect.NewError(connect.CodeResourceExhausted, errors.New("message size 9 is larger than configured max 8"))
	cases := map[string]struct {
		err  error
		code connect.Code
		text string
	}{
		"cancelled":     {fmt.Errorf("x: %w", context.Canceled), connect.CodeCanceled, "was cancelled"},
		"deadline":      {fmt.Errorf("x: %w", context.DeadlineExceeded), connect.CodeDeadlineExceeded, "longer than its deadline"},
		"unknown":       {errors.New("dial 10.0.0.3: refused"), connect.CodeInternal, "(request 77)"},
		"connect's own": {fmt.Errorf("receive: %w", tooLarge), connect.CodeResourceExhausted, "larger than configured max"},
		"connect's bug": {connect.NewError(connect.CodeUnknown, errors.New("10.0.0.3")), connect.CodeInternal, "(request 77)"},
	}
	for name, test := range cases {
		got := ToConnect(test.err, "77")
		if got.Code() != test.code || !strings.Contains(got.Message(), test.text) || strings.Contains(got.Message(), "10.0.0.3") {
			t.Errorf("%s: got %v, want %s with %q", name, got, test.code, test.text)
		}
	}
	if FromConnect(nil) != nil {
		t.Error("nil is no fault")
	}
}
