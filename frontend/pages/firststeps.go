package pages

import (
	_ "embed" // firstworker.txt
	"strconv"
	"strings"
	"time"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// FirstSteps leads a tenant to its first run.
type FirstSteps struct {
	// Address is the API's address as the viewer reaches it.
	Address string
	// Checkout is the folder of Tenon's source on the viewer's machine; empty leaves a gap to fill.
	Checkout string
	// WorkerToken and APIToken have just been made; empty leaves a gap for the viewer to fill.
	WorkerToken, APIToken string
}

// FirstRun is how far a tenant has come with its first run.
type FirstRun struct {
	// Worker is one that is attached, Run the newest run; nil while there is none.
	Worker *workersv1.Worker
	Run    *runsv1.Run
	// Workflows are what can be triggered.
	Workflows []string
	Now       time.Time
}

// firstWorker is the README's first worker, as in examples/go/firstworker.
//
//go:embed firstworker.txt
var firstWorker string

// FirstWorkflow is what the first worker serves.
const FirstWorkflow = "greet"

// greeted is an input of it.
const greeted = `"Ada"`

// workflow is what to trigger: the first worker's, else any.
func (f FirstRun) workflow() string {
	for _, name := range f.Workflows {
		if name == FirstWorkflow {
			return name
		}
	}
	if len(f.Workflows) > 0 {
		return f.Workflows[0]
	}
	return ""
}

// input is one for the workflow, where it is known.
func (f FirstRun) input() string {
	if f.workflow() == FirstWorkflow {
		return greeted
	}
	return ""
}

// begun reports whether there is more to see than an empty tenant.
func (f FirstRun) begun() bool { return f.Worker != nil || f.Run != nil }

// curlLine is a first trigger, ready to paste.
func (f FirstSteps) curlLine() string {
	return export("TENON_API_TOKEN", f.APIToken, "an API token") +
		"curl -s " + quoted(f.Address+"/tenon.runs.v1.RunService/TriggerAndWait") + " \\\n" +
		"  -H 'Content-Type: application/json' -H \"Authorization: Bearer $TENON_API_TOKEN\" \\\n" +
		`  -d '{"run": {"workflow": "` + FirstWorkflow + `", "input": ` + greeted + `}}'`
}

// folderLines make a folder with a Go module in it, outside of any checkout, whose workspace would take it for its own.
func (f FirstSteps) folderLines() string {
	tenon := "TENON=" + quoted(f.Checkout)
	if f.Checkout == "" {
		tenon = "TENON='...'    # the folder of your clone of Tenon"
	}
	need := func(module string) string {
		name := "github.com/tenon-run/tenon/" + module
		return "go mod edit -require " + name + "@v0.0.0 -replace " + name + "=\"$TENON/" + module + "\""
	}
	return strings.Join([]string{tenon, "mkdir -p ~/tenon-hello && cd ~/tenon-hello", "go mod init example.com/hello", need("sdk/go"), need("proto")}, "\n")
}

// code is the first worker, with its token and where the server is, so that it runs as it stands.
func (f FirstSteps) code() string {
	if f.WorkerToken == "" {
		return firstWorker
	}
	code := strings.Replace(firstWorker, "tenon.NewClient() // TENON_CLIENT_TOKEN, TENON_CLIENT_ADDRESS",
		"tenon.NewClient(tenon.WithAddress("+strconv.Quote(f.Address)+"), tenon.WithToken(token))", 1)
	return strings.Replace(code, "func main() {", "// The token of this worker. Once the code is kept: leave it out and set TENON_CLIENT_TOKEN.\nconst token = "+strconv.Quote(f.WorkerToken)+"\n\nfunc main() {", 1)
}

// startLines start the worker in its folder.
func (f FirstSteps) startLines() string {
	start := "go mod tidy && go run ."
	if f.WorkerToken == "" {
		return export("TENON_CLIENT_TOKEN", "", "a worker token") + "export TENON_CLIENT_ADDRESS=" + quoted(f.Address) + "\n" + start
	}
	return start
}

func export(name, token, what string) string {
	if token == "" {
		return "export " + name + "='...'    # " + what + "\n"
	}
	return "export " + name + "=" + quoted(token) + "\n"
}

// quoted is a text as one word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
