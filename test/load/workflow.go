package load

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	tenon "github.com/tenon-run/tenon/sdk/go"
	"github.com/tenon-run/tenon/test/history"
)

// Input of the workflow.
type Input struct {
	N int `json:"n"`
	// MS is how long the task takes, in milliseconds.
	MS int `json:"ms"`
}

// workflow makes the workflow "load". begin and end are called around each execution.
func workflow(begin func(history.Execution) error, end func()) *tenon.Workflow[Input, string] {
	return tenon.NewTask("load", func(ctx tenon.Context, in Input) (string, error) {
		if err := begin(history.Execution{Run: ctx.RunID(), Generation: ctx.Generation(), Attempt: ctx.Attempt()}); err != nil {
			return "", err
		}
		defer end()
		timer := time.NewTimer(time.Duration(in.MS) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return answer(in.N), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
}

// answer is what the workflow makes of an input.
func answer(n int) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(n)))
	return hex.EncodeToString(sum[:])
}

// want is the answer as the JSON that the server stores.
func want(n int) string {
	text, _ := json.Marshal(answer(n)) // hexadecimal digits
	return string(text)
}
