package pages

import (
	_ "embed" // firstworker.txt
	"strings"
)

// FirstSteps leads a tenant to its first run.
type FirstSteps struct {
	// Address is the API's address as the viewer reaches it.
	Address string
	// WorkerToken and APIToken have just been made; empty leaves a gap for the viewer to fill.
	WorkerToken, APIToken string
}

// firstWorker is the README's first worker, as in examples/go/firstworker.
//
//go:embed firstworker.txt
var firstWorker string

// curlLine is a first trigger, ready to paste.
func (f FirstSteps) curlLine() string {
	return f.export("TENON_API_TOKEN", f.APIToken, "an API token") +
		"curl -s '" + f.address() + "/tenon.runs.v1.RunService/TriggerAndWait' \\\n" +
		"  -H 'Content-Type: application/json' -H \"Authorization: Bearer $TENON_API_TOKEN\" \\\n" +
		`  -d '{"run": {"workflow": "greet", "input": "Ada"}}'`
}

// workerLine starts the README's first worker.
func (f FirstSteps) workerLine() string {
	return f.export("TENON_CLIENT_TOKEN", f.WorkerToken, "a worker token") +
		"export TENON_CLIENT_ADDRESS='" + f.address() + "'\ngo run ./firstworker    # in examples/go of a clone"
}

func (FirstSteps) export(name, token, what string) string {
	if token == "" {
		return "export " + name + "='...'    # " + what + "\n"
	}
	return "export " + name + "='" + token + "'\n"
}

func (f FirstSteps) address() string { return strings.ReplaceAll(f.Address, "'", "") }
