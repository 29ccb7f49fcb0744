package fault_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tenon-run/tenon/internal/fault"
)

func TestCodesHaveDistinctNamesThatParse(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for code := fault.CodeInternal; code <= fault.CodeDeadlineExceeded; code++ {
		name := code.String()
		if seen[name] || name == "" {
			t.Errorf("code %d has the name %q of another one", code, name)
		}
		seen[name] = true
		if got := fault.ParseCode(name); got != code {
			t.Errorf("ParseCode(%q) = %v, want %v", name, got, code)
		}
	}
	if got := fault.ParseCode("learned_later"); got != fault.CodeInternal {
		t.Errorf("an unknown code is %v, want internal", got)
	}
	if got := fault.Code(200).String(); got != "internal" {
		t.Errorf("Code(200) is %q, want internal", got)
	}
}

func TestOf(t *testing.T) {
	t.Parallel()
	known := fault.NotFound("run", "run_1")
	for name, test := range map[string]struct {
		err    error
		code   fault.Code
		reason string
	}{
		"itself":    {known, fault.CodeNotFound, "NOT_FOUND"},
		"wrapped":   {fmt.Errorf("read: %w", known), fault.CodeNotFound, "NOT_FOUND"},
		"deadline":  {fmt.Errorf("x: %w", context.DeadlineExceeded), fault.CodeDeadlineExceeded, "DEADLINE_EXCEEDED"},
		"cancelled": {context.Canceled, fault.CodeAborted, "CANCELED"},
		"anything":  {errors.New("password is hunter2"), fault.CodeInternal, "INTERNAL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := fault.Of(test.err)
			if got.Code != test.code || got.Reason != test.reason {
				t.Errorf("Of = %v %s, want %v %s", got.Code, got.Reason, test.code, test.reason)
			}
			if !errors.Is(got, test.err) && !errors.Is(test.err, got) {
				t.Error("the error it was made from is lost")
			}
		})
	}
	if fault.Of(nil) != nil {
		t.Error("Of(nil) is not nil")
	}
}

func TestPrivateCauseStaysOutOfThePublicText(t *testing.T) {
	t.Parallel()
	secret := errors.New("password is hunter2")
	for _, err := range []error{fault.Of(secret), fault.Internal(secret, "dial %s", "db-7"), fault.Unavailable("AWAY", "come back later").WithCause(secret)} {
		public := err.Error() + string(fault.Encode(err))
		if strings.Contains(public, "hunter2") || strings.Contains(public, "db-7") {
			t.Errorf("the public text tells the cause: %s", public)
		}
		if !errors.Is(err, secret) {
			t.Error("errors.Is does not see the cause")
		}
		if !strings.Contains(fault.Detail(err), "hunter2") {
			t.Errorf("the log's text %q lacks the cause", fault.Detail(err))
		}
	}
}

func TestWireKeepsThePublicPart(t *testing.T) {
	t.Parallel()
	sent := fault.Invalid("BAD_INPUT", "the input is not valid\nsecond line", fault.Field{Path: "items[3].input_json", Message: "not JSON"}).
		WithResource("workflow", "größe").WithRetryAfter(1500 * time.Millisecond).WithCause(errors.New("private"))
	got := fault.Decode(fault.Encode(fmt.Errorf("wrapped: %w", sent)))
	if diff := cmp.Diff(sent, got, cmpopts.IgnoreUnexported(fault.Error{})); diff != "" {
		t.Error(diff)
	}
	if got.Cause() != nil {
		t.Error("the cause crossed the wire")
	}
	if broken := fault.Decode([]byte("{")); broken.Code != fault.CodeInternal {
		t.Errorf("a broken message decodes to %v, want internal", broken.Code)
	}
}

func TestWithLeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	first := fault.Invalid("R", "m", fault.Field{Path: "a", Message: "1"})
	second := first.WithFields(fault.Field{Path: "b", Message: "2"}).WithCause(errors.New("x")).WithResource("run", "1").WithRetryAfter(time.Second)
	if len(first.Fields) != 1 || first.Cause() != nil || !first.Resource.IsZero() || first.RetryAfter != 0 {
		t.Errorf("the original has changed: %+v", first)
	}
	if want := "m: a: 1; b: 2"; second.Error() != want {
		t.Errorf("Error() = %q, want %q", second.Error(), want)
	}
}

func TestIsAndHasReason(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("x: %w", fault.FailedPrecondition("RUN_FINAL", "run %d is final", 7))
	if !fault.Is(err, fault.CodeFailedPrecondition) || fault.Is(err, fault.CodeInternal) || fault.Is(nil, fault.CodeInternal) {
		t.Error("Is does not tell codes apart")
	}
	if !fault.HasReason(err, "RUN_FINAL") || fault.HasReason(nil, "RUN_FINAL") {
		t.Error("HasReason does not tell reasons apart")
	}
}
