package schedulerrpc

import (
	"strings"
	"testing"

	"github.com/tenon-run/tenon/internal/flow"
)

// The enums of the wire follow the states of the vocabulary by name.
func TestStatusNames(t *testing.T) {
	t.Parallel()
	for _, s := range flow.TaskStates() {
		if got, want := taskStatus(s).String(), "TASK_STATUS_"+strings.ToUpper(string(s)); got != want {
			t.Errorf("task state %s goes out as %s, want %s", s, got, want)
		}
	}
	for _, s := range flow.RunStates() {
		if got, want := runStatus(s).String(), "RUN_STATUS_"+strings.ToUpper(string(s)); got != want {
			t.Errorf("run state %s goes out as %s, want %s", s, got, want)
		}
		if back := runState(runStatus(s)); back != s {
			t.Errorf("run state %s comes back as %s", s, back)
		}
	}
}

func TestTokensComeBack(t *testing.T) {
	t.Parallel()
	id := flow.MakeID(1_700_000_000_000, [10]byte{1, 2, 3})
	if got, err := parseRunToken(runToken(id)); err != nil || got != id {
		t.Errorf("run token: %v, %v", got, err)
	}
	if got, err := parseOffsetToken(offsetToken(42)); err != nil || got != 42 {
		t.Errorf("offset token: %v, %v", got, err)
	}
	for _, bad := range []string{"x", "!!", runToken(id) + "a", "YQ", offsetToken(-1)} {
		if _, err := parseOffsetToken(bad); err == nil {
			t.Errorf("offset token %q is taken", bad)
		}
		if _, err := parseLogToken(bad); err == nil {
			t.Errorf("log token %q is taken", bad)
		}
	}
}
