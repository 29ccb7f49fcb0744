package command_test

import (
	"strings"
	"testing"
)

const nobodysWorker = "wkr_01h455vb4pex5vsknk084sn02q"

func TestWorkers(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	y.types("workers", "list")
	works(t, server)
	id := ""
	y.until(func(a answered) bool { id = idText.FindString(a.out); return id != "" }, "workers", "list")
	slow := strings.TrimSpace(y.quietly("", "runs", "trigger", "slow").out)
	y.until(func(a answered) bool {
		return strings.Contains(a.out, slow) && strings.Contains(a.out, "slow/slow  running")
	}, "workers", "get", id)
	y.types("workers", "get", nobodysWorker)
	y.types("workers", "get", "mine")
	y.types("workers", "get")
	y.types("workers", "list", "--limit", "-1")
	y.types("workers", "pause", nobodysWorker)
	y.types("workers", "pause", id)
	y.until(func(a answered) bool { return strings.Contains(a.out, "paused") && strings.Contains(a.out, "1/10") }, "workers", "list")
	y.types("workers", "resume", id, "-o", "json")
	y.until(func(a answered) bool { return strings.Contains(a.out, "connected") }, "workers", "list")
	y.types("workers", "drain", "mine")
	y.types("workers", "drain", id)
	y.until(func(a answered) bool { return strings.Contains(a.out, "draining") }, "workers", "list", "--all")
	y.types("workers", "resume", id)
	y.golden("workers")
	a := y.quietly("", "workers", "list", "-o", "json")
	for _, want := range []string{`"status": "WORKER_STATUS_DRAINING"`, `"attachedWorkers": 1`, `"slots": 10`} {
		if !strings.Contains(a.out, want) {
			t.Errorf("the answer lacks %s: %s%s", want, a.out, a.err)
		}
	}
}
