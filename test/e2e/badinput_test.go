package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/proto/tenon/registry/v1/registryv1connect"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

const (
	runService      = "/tenon.runs.v1.RunService/"
	registryService = "/tenon.registry.v1.RegistryService/"
	workerService   = "/tenon.workers.v1.WorkerService/"
	nobodysRun      = "run_01h455vb4pex5vsknk084sn02q" // well formed, made in 2023
	nobodysWorker   = "wkr_01h455vb4pex5vsknk084sn02q"
)

// victim is a server that gets bad input, with ways to reach it.
type victim struct {
	developer, worker caller
	runs              runsv1connect.RunServiceClient
	registry          registryv1connect.RegistryServiceClient
	workers           workersv1connect.WorkerServiceClient
	openRun           string // of workflow "any", which nobody serves
}

// newVictim has a workflow "any" that takes everything, and "strict" that wants {"n": integer}.
func newVictim(t *testing.T) *victim {
	t.Helper()
	server := apptest.Start(t)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	_, developer := server.Token(t, server.Owner, authz.RoleDeveloper, time.Hour)
	_, worker := server.Token(t, server.Owner, "", time.Hour)
	v := &victim{
		developer: caller{client, server.Address, developer}, worker: caller{client, server.Address, worker},
		runs:     runsv1connect.NewRunServiceClient(client, server.Address, withToken(developer)),
		registry: registryv1connect.NewRegistryServiceClient(client, server.Address, withToken(developer)),
		workers:  workersv1connect.NewWorkerServiceClient(client, server.Address, withToken(worker)),
	}
	for name, schema := range map[string]string{"any": "", "strict": `{"type": "object", "properties": {"n": {"type": "integer"}}}`} {
		if _, err := v.registry.PutWorkflow(t.Context(), &registryv1.PutWorkflowRequest{Spec: &registryv1.WorkflowSpec{
			Name: name, Tasks: []*registryv1.TaskSpec{{Name: name}}, InputSchemaJson: schema,
		}}); err != nil {
			t.Fatal(err)
		}
	}
	v.openRun = v.stillAnswers(t)
	return v
}

// stillAnswers starts a run and reads it back.
func (v *victim) stillAnswers(t *testing.T) string {
	t.Helper()
	made, err := v.runs.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "any", InputJson: `"ok"`}})
	if err != nil {
		t.Fatalf("the server does not answer any more: %v", err)
	}
	got, err := v.runs.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: made.GetRunId()})
	if err != nil || got.GetRun().GetInputJson() != `"ok"` || got.GetRun().GetStatus() != runsv1.RunStatus_RUN_STATUS_QUEUED {
		t.Errorf("a run that was just triggered is read as %v: %v", got, err)
	}
	return made.GetRunId()
}

func invalid(reason string, fields ...string) refusal {
	return refusal{Code: "invalid_argument", Reason: reason, Fields: fields}
}

// unread is the refusal of a body that could not even be decoded: it names the place instead of a field.
func unread(place string) refusal { return refusal{Code: "invalid_argument", Message: place} }

// nested is JSON that is so many arrays deep.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// Whatever a program sends as JSON, by hand: the answer says what is wrong and where, and the server goes on.
func TestBadInputByPlainHTTP(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	trigger, notFound := runService+"Trigger", refusal{Code: "not_found", Reason: "NOT_FOUND"}
	for name, test := range map[string]struct {
		method, body string
		want         refusal
	}{
		"malformed JSON":                {trigger, `{"run": {"workflow": "any",`, unread("line 1, column 28")},
		"malformed JSON, second line":   {trigger, "{\n \"run\": {]}", unread("line 2, column 10")},
		"malformed payload, inline":     {trigger, `{"run": {"workflow": "any", "input": {"a": }}}`, unread("line 1, column 44")},
		"malformed payload, as text":    {trigger, `{"run": {"workflow": "any", "inputJson": "{"}}`, invalid("PAYLOAD_NOT_JSON", "run.input_json")},
		"payload in both forms":         {trigger, `{"run": {"workflow": "any", "inputJson": "1", "input": 2}}`, unread(`"input" and "inputJson"`)},
		"no body":                       {trigger, ``, unread("the body is empty")},
		"required field missing":        {trigger, `{}`, invalid("INVALID_FIELD", "run")},
		"wrong type":                    {trigger, `{"run": {"workflow": 7}}`, unread("line 1, column 22")},
		"number over its type":          {runService + "ListRuns", `{"pageSize": 99999999999}`, unread("field pageSize")},
		"not UTF-8":                     {trigger, "{\"run\": {\"workflow\": \"any\", \"input\": \"\xff\"}}", unread("invalid UTF-8")},
		"NUL in a payload":              {trigger, `{"run": {"workflow": "any", "input": "a\u0000b"}}`, invalid("PAYLOAD_HAS_NUL", "run.input_json")},
		"NUL byte in a payload":         {trigger, "{\"run\": {\"workflow\": \"any\", \"input\": \"\x00\"}}", unread("0x00")},
		"NUL in a workflow's name":      {trigger, `{"run": {"workflow": "a\u0000"}}`, notFound},
		"NUL in a filter":               {runService + "ListRuns", `{"workflow": "a\u0000"}`, notFound},
		"NUL in a run's id":             {runService + "GetRun", `{"runId": "run_\u0000"}`, invalid("INVALID_ARGUMENT", "run_id")},
		"NUL in a task's name, logs":    {runService + "ListLogs", `{"runId": "` + v.openRun + `", "task": "a\u0000"}`, invalid("INVALID_ARGUMENT", "task")},
		"NUL in a task's name, replay":  {runService + "ReplayRun", `{"runId": "` + v.openRun + `", "tasks": ["a\u0000"]}`, refusal{Code: "failed_precondition", Reason: "RUN_NOT_FINAL"}},
		"NUL in declared names":         {registryService + "PutWorkflow", `{"spec": {"name": "a\u0000", "tasks": [{"name": "b\u0000"}]}}`, invalid("WORKFLOW_INVALID", "spec.name", "spec.tasks[0].name")},
		"NUL in a worker's name":        {workerService + "Register", `{"actions": ["any/any"], "slots": 1, "name": "\u0000"}`, invalid("INVALID_ARGUMENT", "name")},
		"payload over 4 MiB":            {trigger, `{"run": {"workflow": "any", "input": "` + strings.Repeat("a", 4<<20) + `"}}`, invalid("PAYLOAD_TOO_LARGE", "run.input_json")},
		"call over 32 MiB":              {trigger, `{"run": {"workflow": "any", "input": "` + strings.Repeat("a", 32<<20) + `"}}`, refusal{Code: "resource_exhausted", Message: "33554432"}},
		"deep JSON":                     {trigger, `{"run": {"workflow": "any", "input": ` + nested(100_000) + `}}`, unread("nested deeper than 1000")},
		"deep JSON, as text":            {trigger, `{"run": {"workflow": "any", "inputJson": "` + nested(100_000) + `"}}`, invalid("PAYLOAD_TOO_DEEP", "run.input_json")},
		"deep JSON in an unknown field": {trigger, `{"x": ` + nested(100_000) + `}`, unread("nested deeper than 1000")},
		"unknown workflow":              {trigger, `{"run": {"workflow": "nobody"}}`, notFound},
		"unknown version":               {trigger, `{"run": {"workflow": "any", "workflowVersion": 7}}`, notFound},
		"a field that is none":          {trigger, `{"run": {"workflow": "any", "imput": {"deep": [1]}}}`, unread(`unknown field "imput"`)},
		"a filter that is none":         {runService + "ListRuns", `{"statuses": ["RUN_STATUS_HAPPY"]}`, unread("RUN_STATUS_HAPPY")},
		"input against its schema":      {trigger, `{"run": {"workflow": "strict", "input": {"n": "x"}}}`, invalid("INPUT_SCHEMA", "run.input.n")},
		"priority of 10":                {trigger, `{"run": {"workflow": "any", "priority": 10}}`, invalid("INVALID_FIELD", "run.priority")},
		"label without a key":           {trigger, `{"run": {"workflow": "any", "labels": {"": "1"}}}`, invalid("INVALID_FIELD", `run.labels[""]`)},
		"label's key, first character":  {trigger, `{"run": {"workflow": "any", "labels": {"-a": "1"}}}`, invalid("INVALID_FIELD", `run.labels["-a"]`)},
		"label's key, of 64":            {trigger, `{"run": {"workflow": "any", "labels": {"` + strings.Repeat("a", 64) + `": ""}}}`, invalid("INVALID_FIELD", `run.labels["`+strings.Repeat("a", 64)+`"]`)},
		"label's key, a line more":      {trigger, `{"run": {"workflow": "any", "labels": {"a\n": "1"}}}`, invalid("INVALID_FIELD", `run.labels["a\n"]`)},
		"label's value of 256 bytes":    {trigger, `{"run": {"workflow": "any", "labels": {"a.b": "` + strings.Repeat("ö", 128) + `"}}}`, invalid("INVALID_FIELD", `run.labels["a.b"]`)},
		"label with a control":          {trigger, `{"run": {"workflow": "any", "labels": {"a": "\u0000"}}}`, invalid("INVALID_FIELD", `run.labels["a"]`)},
		"labels over 16":                {trigger, `{"run": {"workflow": "any", "labels": {` + manyLabels(17) + `}}}`, invalid("INVALID_FIELD", "run.labels")},
		"label in a filter":             {runService + "ListRuns", `{"labels": {"a b": "1"}}`, invalid("INVALID_FIELD", `labels["a b"]`)},
		"label's value in a filter":     {runService + "ListRuns", `{"labels": {"a": "\u007f"}}`, invalid("INVALID_FIELD", `labels["a"]`)},
		"id without its form":           {trigger, `{"run": {"workflow": "any", "runId": "7"}}`, invalid("INVALID_ARGUMENT", "run.run_id")},
		"id of another kind":            {trigger, `{"run": {"workflow": "any", "runId": "` + nobodysWorker + `"}}`, invalid("INVALID_ARGUMENT", "run.run_id")},
		"id of another year":            {trigger, `{"run": {"workflow": "any", "runId": "` + nobodysRun + `"}}`, invalid("INVALID_ARGUMENT", "run.run_id")},
		"id of nobody's run":            {runService + "GetRun", `{"runId": "` + nobodysRun + `"}`, notFound},
		"id left out":                   {runService + "GetRun", `{}`, invalid("INVALID_FIELD", "run_id")},
		"id of a parent run":            {runService + "ListRuns", `{"parentRunId": "x"}`, invalid("INVALID_ARGUMENT", "parent_run_id")},
		"negative page size":            {runService + "ListRuns", `{"pageSize": -1}`, invalid("INVALID_FIELD", "page_size")},
		"huge page size":                {runService + "ListRuns", `{"pageSize": 2147483647}`, invalid("INVALID_FIELD", "page_size")},
		"garbage page token":            {runService + "ListRuns", `{"pageToken": "garbage"}`, invalid("INVALID_ARGUMENT", "page_token")},
		"garbage page token, attempts":  {runService + "ListAttempts", `{"runId": "` + v.openRun + `", "pageToken": "garbage"}`, invalid("INVALID_ARGUMENT", "page_token")},
		"garbage page token, logs":      {runService + "ListLogs", `{"runId": "` + v.openRun + `", "pageToken": "garbage"}`, invalid("INVALID_ARGUMENT", "page_token")},
		"garbage page token, workflows": {registryService + "ListWorkflows", `{"pageToken": "garbage"}`, invalid("INVALID_ARGUMENT", "page_token")},
		"cycle":                         {registryService + "PutWorkflow", `{"spec": {"name": "c", "tasks": [{"name": "a", "parents": ["b"]}, {"name": "b", "parents": ["a"]}]}}`, invalid("WORKFLOW_INVALID", "spec.tasks[0].parents")},
		"unknown workflow's action":     {workerService + "Register", `{"actions": ["any/any", "nobody/x", "any/y"], "slots": 1}`, invalid("UNKNOWN_ACTION", "actions[1]", "actions[2]")},
		"action without a task":         {workerService + "Register", `{"actions": ["any"], "slots": 1}`, invalid("INVALID_FIELD", "actions[0]")},
		"negative slots":                {workerService + "Register", `{"actions": ["any/any"], "slots": -1}`, invalid("INVALID_FIELD", "slots")},
		"report of no worker":           {workerService + "Report", `{"workerId": "` + nobodysWorker + `", "session": 1, "reports": [{"assignmentId": "AAAAAAAAAAAAAAAAAAAAAA==", "runId": "` + nobodysRun + `", "taskNo": 1, "started": {}}]}`, notFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			by := v.developer
			if strings.HasPrefix(test.method, workerService) {
				by = v.worker
			}
			expect(t, by.json(t, test.method, test.body), test.want)
			v.stillAnswers(t)
		})
	}
}

// manyLabels is the inside of an object of so many labels.
func manyLabels(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"k%d": "v"`, i))
	}
	return strings.Join(out, ", ")
}

// What is just within the limits is taken, and comes back as it was.
func TestLabelsAtTheirLimits(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	labels := make(map[string]string)
	for i := range 14 {
		labels[fmt.Sprintf("k%d", i)] = strings.Repeat("<", 255)
	}
	labels["0/A_b-c."+strings.Repeat("z", 55)] = strings.Repeat("ö", 127)
	labels["empty"] = ""
	made, err := v.runs.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "any", Labels: labels}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.runs.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: made.GetRunId()})
	if err != nil || !maps.Equal(got.GetRun().GetLabels(), labels) {
		t.Errorf("the labels come back as %v: %v", got.GetRun().GetLabels(), err)
	}
	listed, err := v.runs.ListRuns(t.Context(), &runsv1.ListRunsRequest{Labels: labels})
	if err != nil || len(listed.GetRuns()) != 1 || !maps.Equal(listed.GetRuns()[0].GetLabels(), labels) {
		t.Errorf("found by all of them: %v, %v", listed, err)
	}
}

// A body that is not what its headers say.
func TestBadEncodings(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	good := `{"run": {"workflow": "any"}}`
	for name, test := range map[string]struct {
		method, contentType, body string
		headers                   []string
		want                      refusal
	}{
		"text":              {"Trigger", "text/plain", good, nil, refusal{Code: "invalid_argument", Message: "is not understood: send application/json"}},
		"a form":            {"Trigger", "application/x-www-form-urlencoded", good, nil, refusal{Code: "invalid_argument", Message: "is not understood: send application/json"}},
		"no type":           {"Trigger", "", good, nil, refusal{Code: "invalid_argument", Message: "is not understood: send application/json"}},
		"binary garbage":    {"Trigger", "application/proto", "\xff\xff\xff\xff", nil, unread("cannot parse")},
		"JSON as binary":    {"Trigger", "application/proto", good, nil, unread("cannot parse")},
		"not compressed":    {"Trigger", "application/json", good, []string{"Content-Encoding", "gzip"}, unread("gzip")},
		"a bomb":            {"Trigger", "application/json", bomb(t), []string{"Content-Encoding", "gzip"}, refusal{Code: "resource_exhausted", Message: "33554432"}},
		"unknown encoding":  {"Trigger", "application/json", good, []string{"Content-Encoding", "lzw"}, refusal{Code: "unimplemented", Message: "lzw"}},
		"deadline garbage":  {"Trigger", "application/json", good, []string{"Connect-Timeout-Ms", "soon"}, unread("timeout")},
		"deadline expired":  {"Trigger", "application/json", good, []string{"Connect-Timeout-Ms", "0"}, refusal{Code: "deadline_exceeded", Reason: "DEADLINE_EXCEEDED"}},
		"deadline too soon": {"TriggerAndWait", "application/json", good, []string{"Connect-Timeout-Ms", "300"}, refusal{Code: "deadline_exceeded", Reason: "RUN_NOT_FINAL"}},
		"no such method":    {"Explode", "application/json", good, nil, refusal{Code: "http 404"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := v.developer.post(t, runService+test.method, test.contentType, strings.NewReader(test.body), test.headers...)
			expect(t, got, test.want)
			v.stillAnswers(t)
		})
	}
}

// bomb is small, and over the limit of a call when it is unpacked.
func bomb(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	for range 33 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A client of a stream that sends garbage, in both framings.
func TestGarbageOnAStream(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	frame := func(flags byte, size uint32, body string) string {
		return string(binary.BigEndian.AppendUint32([]byte{flags}, size)) + body
	}
	for name, test := range map[string]struct{ body, code string }{
		"no frame":               {"garbage", "resource_exhausted"}, // its text is read as a length
		"half a frame's head":    {"\x00\x00", "invalid_argument"},
		"half a frame":           {frame(0, 100, "{"), "invalid_argument"},
		"a frame of 4 GiB":       {frame(0, 1<<32-1, "{}"), "resource_exhausted"},
		"a frame of no JSON":     {frame(0, 5, "{bad}"), "invalid_argument"},
		"a frame of no run":      {frame(0, 2, "{}"), "invalid_argument"},
		"a frame that is packed": {frame(1, 2, "{}"), "invalid_argument"},
		"nothing":                {"", "unimplemented"}, // Connect's word for a stream without its one message
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, text := v.developer.post(t, runService+"WatchRun", "application/connect+json", strings.NewReader(test.body))
			if got := endOfStream(t, text); got != test.code {
				t.Errorf("the stream ends with %s, want %s: %q", got, test.code, text)
			}
			v.stillAnswers(t)
		})
	}
}

// lastFrame is the flag of a stream's last frame in Connect's framing.
const lastFrame = 2

// endOfStream reads the code in the last frame of a Connect stream.
func endOfStream(t *testing.T, text []byte) string {
	t.Helper()
	for len(text) >= 5 {
		size := int(binary.BigEndian.Uint32(text[1:5]))
		if len(text) < 5+size {
			break
		}
		if text[0]&lastFrame != 0 {
			var end struct{ Error struct{ Code string } }
			if err := json.Unmarshal(text[5:5+size], &end); err != nil {
				t.Fatalf("end of the stream: %v", err)
			}
			return end.Error.Code
		}
		text = text[5+size:]
	}
	t.Fatalf("the stream has no end: %q", text)
	return ""
}

// The same through the generated clients, in the binary form that SDKs use.
func TestBadInputByConnect(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	run := func(r *runsv1.NewRun) error {
		_, err := v.runs.Trigger(t.Context(), &runsv1.TriggerRequest{Run: r})
		return err
	}
	watch := func(id string) error {
		stream, err := v.runs.WatchRun(t.Context(), &runsv1.WatchRunRequest{RunId: id})
		if err != nil {
			return err
		}
		for stream.Receive() {
			return nil
		}
		return stream.Err()
	}
	listen := func(worker string, session int64) error {
		stream, err := v.workers.Listen(t.Context(), &workersv1.ListenRequest{WorkerId: worker, Session: session})
		if err != nil {
			return err
		}
		for stream.Receive() {
			return nil
		}
		return stream.Err()
	}
	notFound := refusal{Code: "not_found", Reason: "NOT_FOUND"}
	for name, test := range map[string]struct {
		err  error
		want refusal
	}{
		"payload is no JSON":   {run(&runsv1.NewRun{Workflow: "any", InputJson: "{"}), invalid("PAYLOAD_NOT_JSON", "run.input_json")},
		"payload has NUL":      {run(&runsv1.NewRun{Workflow: "any", InputJson: "\"\x00\""}), invalid("PAYLOAD_HAS_NUL", "run.input_json")},
		"payload over 4 MiB":   {run(&runsv1.NewRun{Workflow: "any", InputJson: `"` + strings.Repeat("a", 4<<20) + `"`}), invalid("PAYLOAD_TOO_LARGE", "run.input_json")},
		"unknown workflow":     {run(&runsv1.NewRun{Workflow: "nobody"}), notFound},
		"name over its length": {run(&runsv1.NewRun{Workflow: strings.Repeat("a", 101)}), invalid("INVALID_FIELD", "run.workflow")},
		"no run":               {run(nil), invalid("INVALID_FIELD", "run")},
		"bad id":               {run(&runsv1.NewRun{Workflow: "any", RunId: "run_"}), invalid("INVALID_ARGUMENT", "run.run_id")},
		"watch of a bad id":    {watch("x"), invalid("INVALID_ARGUMENT", "run_id")},
		"watch of nobody":      {watch(nobodysRun), notFound},
		"listen of a bad id":   {listen("x", 1), invalid("INVALID_ARGUMENT", "worker_id")},
		"listen of nobody":     {listen(nobodysWorker, 1), notFound},
		"session of 0":         {listen(nobodysWorker, 0), invalid("INVALID_FIELD", "session")},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, refusalOf(test.err), test.want)
		})
	}
	v.stillAnswers(t)
}

// The same run id means the same run while the contents are the same; with others it is refused, and the first run stands.
func TestSameRunID(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	id, err := tenon.NewRunID()
	if err != nil {
		t.Fatal(err)
	}
	trigger := func(input string) (*runsv1.TriggerResponse, error) {
		return v.runs.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{RunId: id, Workflow: "any", InputJson: input}})
	}
	first, err := trigger("1")
	if err != nil || !first.GetCreated() || first.GetRunId() != id {
		t.Fatalf("first: %v, %v", first, err)
	}
	again, err := trigger("1")
	if err != nil || again.GetCreated() || again.GetRunId() != id {
		t.Errorf("the same again: %v, %v", again, err)
	}
	_, err = trigger("2")
	expect(t, refusalOf(err), refusal{Code: "already_exists", Reason: "RUN_EXISTS", Fields: []string{"run.run_id"}})
	bulk, err := v.runs.TriggerBulk(t.Context(), &runsv1.TriggerBulkRequest{Runs: []*runsv1.NewRun{
		{RunId: id, Workflow: "any", InputJson: "1"}, {RunId: id, Workflow: "any", InputJson: "3"},
	}})
	if err != nil || bulk.GetResults()[0].GetRunId() != id || bulk.GetResults()[0].GetCreated() {
		t.Errorf("the same in bulk: %v, %v", bulk, err)
	}
	expect(t, refusalOfItem(bulk.GetResults()[1].GetError()), refusal{Code: "already_exists", Reason: "RUN_EXISTS", Fields: []string{"runs[1].run_id"}})
	got, err := v.runs.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: id})
	if err != nil || got.GetRun().GetInputJson() != "1" {
		t.Errorf("the first run is %v: %v", got, err)
	}
	listed, err := v.runs.ListRuns(t.Context(), &runsv1.ListRunsRequest{Workflow: "any"})
	if err != nil {
		t.Fatal(err)
	}
	if runs := len(listed.GetRuns()); runs != 2 { // this one, and the victim's own
		t.Errorf("there are %d runs, want 2", runs)
	}
}

// A bad item of a bulk call is answered by itself: those around it are stored. More than 10,000 are refused before anything happens.
func TestBulkWithBadItems(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	bad := int32(-1)
	items := []*runsv1.NewRun{
		{Workflow: "any", InputJson: "0"},
		{Workflow: "nobody"},
		{Workflow: "any", InputJson: `"\u0000"`},
		{Workflow: "any", InputJson: `{`},
		{Workflow: "any", InputJson: "5", RunId: "x"},
		{Workflow: "strict", InputJson: `{"n": "x"}`},
		{Workflow: ""},
		{Workflow: "any", Priority: &bad},
		{Workflow: "any", InputJson: "8"},
		{Workflow: "any", InputJson: "9", Labels: map[string]string{"a b": ""}},
	}
	want := []refusal{
		{Code: "ok"},
		{Code: "not_found", Reason: "NOT_FOUND"},
		invalid("PAYLOAD_HAS_NUL", "runs[2].input_json"),
		invalid("PAYLOAD_NOT_JSON", "runs[3].input_json"),
		invalid("INVALID_ARGUMENT", "runs[4].run_id"),
		invalid("INPUT_SCHEMA", "runs[5].input.n"),
		invalid("INVALID_FIELD", "runs[6].workflow"),
		invalid("INVALID_FIELD", "runs[7].priority"),
		{Code: "ok"},
		invalid("INVALID_FIELD", `runs[9].labels["a b"]`),
	}
	bulk, err := v.runs.TriggerBulk(t.Context(), &runsv1.TriggerBulkRequest{Runs: items})
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range bulk.GetResults() {
		t.Run(fmt.Sprint(i), func(t *testing.T) { expect(t, refusalOfItem(result.GetError()), want[i]) })
		if want[i].Code != "ok" {
			continue
		}
		got, err := v.runs.GetRun(t.Context(), &runsv1.GetRunRequest{RunId: result.GetRunId()})
		if err != nil || got.GetRun().GetInputJson() != items[i].GetInputJson() {
			t.Errorf("run %d beside bad ones is %v: %v", i, got, err)
		}
	}
	many := make([]*runsv1.NewRun, 10_001)
	for i := range many {
		many[i] = &runsv1.NewRun{Workflow: "any"}
	}
	_, err = v.runs.TriggerBulk(t.Context(), &runsv1.TriggerBulkRequest{Runs: many})
	expect(t, refusalOf(err), invalid("INVALID_FIELD", "runs"))
	listed, err := v.runs.ListRuns(t.Context(), &runsv1.ListRunsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if runs := len(listed.GetRuns()); runs != 3 { // two of the items, and the victim's own
		t.Errorf("there are %d runs, want 3", runs)
	}
	v.stillAnswers(t)
}
