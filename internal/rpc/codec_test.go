package rpc

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
)

// wild is a payload that a parser would spoil: a number beyond float64, one with more digits than it has, keys out of order and doubled,
// and white space.
const wild = `{"b": 1e400, "a": 12345678901234567890, "a": [1.10, "\u00e9\n\"" ,null],
 "z": {}}`

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	run := func(input string) *runsv1.TriggerRequest {
		return &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "w", InputJson: input}}
	}
	cases := map[string]struct {
		text string
		want proto.Message
	}{
		"standard":              {`{"run": {"workflow": "w", "inputJson": "{\"n\": 1}"}}`, run(`{"n": 1}`)},
		"standard, proto name":  {`{"run": {"workflow": "w", "input_json": "[1]"}}`, run(`[1]`)},
		"inline object":         {`{"run": {"workflow": "w", "input": {"n": 1}}}`, run(`{"n": 1}`)},
		"inline string":         {`{"run": {"workflow": "w", "input": "a\"\\b"}}`, run(`"a\"\\b"`)},
		"inline null":           {`{"run": {"workflow": "w", "input": null}}`, run(`null`)},
		"inline false":          {`{"run": {"workflow": "w", "input":false}}`, run(`false`)},
		"inline first":          {`{"run": {"input": -0.0e-0 , "workflow": "w"}}`, run(`-0.0e-0`)},
		"every byte is kept":    {`{"run": {"workflow": "w", "input": ` + wild + `}}`, run(wild)},
		"escaped key":           {`{"run": {"workflow": "w", "\u0069nput": 7}}`, run(`7`)},
		"absent":                {`{"run": {"workflow": "w"}}`, run(``)},
		"standard null":         {`{"run": {"workflow": "w", "inputJson": null}}`, run(``)},
		"unknown fields":        {`{"new": {"input": 1}, "run": {"workflow": "w", "x": [{}], "input": 2}}`, run(`2`)},
		"message null":          {`{"run": null}`, &runsv1.TriggerRequest{}},
		"type without payloads": {`{"runId": "run_1", "input": {"a": 1}}`, &runsv1.GetRunRequest{RunId: "run_1"}},
		"repeated": {
			`{"runs": [{"workflow": "a", "input": 1}, {"workflow": "b", "inputJson": "2"}, {"workflow": "c"}]}`,
			&runsv1.TriggerBulkRequest{Runs: []*runsv1.NewRun{
				{Workflow: "a", InputJson: "1"}, {Workflow: "b", InputJson: "2"}, {Workflow: "c"},
			}},
		},
		"three levels": {
			`{"run": {"id": "r", "output": [1], "tasks": [{"name": "t", "output": {"k": 1e400}}]}}`,
			&runsv1.GetRunResponse{Run: &runsv1.Run{
				Id: "r", OutputJson: "[1]", Tasks: []*runsv1.Task{{Name: "t", OutputJson: `{"k": 1e400}`}},
			}},
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.want.ProtoReflect().New().Interface()
			if err := (jsonCodec{name: "json"}).Unmarshal([]byte(test.text), got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

// What Connect clients send may be of a newer version; what is written by hand is held to the letter.
func TestUnknownNamesInHandWrittenJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"run": {"workflow": "w", "imput": 1}}`: `unknown field "imput"`,
		`{"workflow": "w"}`:                      `unknown field "workflow"`,
	} {
		err := (jsonCodec{name: inlineCodec, inline: true}).Unmarshal([]byte(text), &runsv1.TriggerRequest{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		if err := (jsonCodec{name: "json"}).Unmarshal([]byte(text), &runsv1.TriggerRequest{}); err != nil {
			t.Errorf("%s: a Connect client got %v", text, err)
		}
	}
}

func TestUnmarshalNamesThePlace(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ text, want string }{
		"empty":              {``, "the body is empty"},
		"blank":              {" \n", "the body is empty"},
		"cut off":            {`{"run": {"workflow": "w"`, `line 1, column 25: the text ends where "," or "}" should stand`},
		"second line":        {"{\"run\": {\n  \"input\": {a: 1}}}", `line 2, column 13: 'a' stands where a key in quotes should`},
		"trailing comma":     {`{"run": {"input": [1,]}}`, `line 1, column 22: ']' stands where a JSON value should`},
		"trailing text":      {`{"run": {}} x`, `line 1, column 13: 'x' stands where the end of the text should`},
		"no number":          {`{"run": {"input": 01}}`, `line 1, column 20: '1' stands where "," or "}" should`},
		"half a number":      {`{"run": {"input": 1.}}`, `line 1, column 21: '}' stands where a digit should`},
		"open string":        {`{"run": {"input": "a}}`, `line 1, column 19: a string that begins here has no end`},
		"raw control":        {"{\"run\": {\"input\": \"a\x00\"}}", `line 1, column 21: a control character (0x00)`},
		"bad escape":         {`{"run": {"input": "\x"}}`, `line 1, column 20: an unknown escape`},
		"bad unicode escape": {`{"run": {"input": "\u12g4"}}`, `line 1, column 20: \u needs four hexadecimal digits`},
		"literal":            {`{"run": {"input": nul}}`, `line 1, column 19: 'n' stands where a JSON value should`},
		"no object":          {`[]`, `line 1, column 1`},
		"both forms":         {`{"run": {"input": 1, "inputJson": "2"}}`, `line 1, column 22: "input" and "inputJson" are two forms of one field`},
		"both forms, other":  {`{"run": {"input_json": "2", "input": 1}}`, `line 1, column 29: "input" and "inputJson" are two forms of one field`},
		"twice inline":       {`{"run": {"input": 1, "input": 2}}`, `duplicate field "inputJson"`},
		// The place is that of the client's text, not of the one rewritten from it.
		"after a rewrite":  {`{"run": {"input": {"a": "\"\"\""}, "priority": "high"}}`, `line 1, column 48: invalid value for int32 field priority`},
		"within a payload": {`{"run": {"inputJson": 5}}`, `line 1, column 23: invalid value for string field inputJson`},
		"invalid UTF-8":    {"{\"run\": {\"input\": \"\xff\"}}", `line 1, column 10`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := (jsonCodec{name: "json"}).Unmarshal([]byte(test.text), &runsv1.TriggerRequest{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestDepthIsBounded(t *testing.T) {
	t.Parallel()
	nested := func(levels int) []byte {
		return []byte(`{"run": {"input": ` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + `}}`)
	}
	if err := (jsonCodec{}).Unmarshal(nested(maxDepth-2), &runsv1.TriggerRequest{}); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
	err := (jsonCodec{}).Unmarshal(nested(maxDepth-1), &runsv1.TriggerRequest{})
	if err == nil || !strings.Contains(err.Error(), "nested deeper than 1000 levels") {
		t.Errorf("%d levels: %v, want a refusal", maxDepth+1, err)
	}
}

func TestMarshal(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		message proto.Message
		want    string
	}{
		"spliced": {&runsv1.GetRunResponse{Run: &runsv1.Run{Id: "r", InputJson: wild, OutputJson: `"a\"b"`, Tasks: []*runsv1.Task{
			{Name: "t", OutputJson: "1e400"}, {OutputJson: "null"}, {Name: "u"},
		}}}, `{"run":{"id":"r","input":` + wild + `,"output":"a\"b","tasks":[{"name":"t","output":1e400},{"output":null},{"name":"u"}]}}`},
		"no JSON stays a string": {&runsv1.NewRun{InputJson: "{oops", Workflow: "w"}, `{"workflow":"w","inputJson":"{oops"}`},
		"without payloads":       {&runsv1.TriggerResponse{RunId: "r", Created: true}, `{"runId":"r","created":true}`},
		"empty":                  {&runsv1.Run{}, `{}`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := jsonCodec{name: inlineCodec, inline: true}.Marshal(test.message)
			if err != nil {
				t.Fatal(err)
			}
			// protojson varies its white space on purpose; the payloads' own must be kept.
			if loose, want := strings.ReplaceAll(string(got), " ", ""), strings.ReplaceAll(test.want, " ", ""); loose != want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if strings.Contains(test.want, wild) && !strings.Contains(string(got), wild) {
				t.Errorf("the payload's bytes changed: %s", got)
			}
		})
	}
}

func TestMarshalLeavesEmptyPayloadsOut(t *testing.T) {
	t.Parallel()
	known := shapeOf((&runsv1.Run{}).ProtoReflect().Descriptor())
	cases := map[string]string{
		`{"inputJson":""}`:                                    `{}`,
		`{ "inputJson" : "" , "outputJson" : "" }`:            `{  }`,
		`{"inputJson":"","id":"r"}`:                           `{"id":"r"}`,
		`{"id":"r","inputJson":"","status":1}`:                `{"id":"r","status":1}`,
		`{"inputJson":"","outputJson":"1","id":"r"}`:          `{"output":1,"id":"r"}`,
		`{"inputJson":"","outputJson":"","id":"r"}`:           `{"id":"r"}`,
		`{"outputJson":"2","inputJson":"","tasks":[{"a":1}]}`: `{"output":2,"tasks":[{"a":1}]}`,
	}
	for text, want := range cases {
		got, err := splice([]byte(text), known, toShort)
		if err != nil || string(got.text) != want {
			t.Errorf("%s: got %s, %v; want %s", text, got.text, err, want)
		}
	}
}

func TestStandardAnswersAreStandard(t *testing.T) {
	t.Parallel()
	message := &runsv1.NewRun{Workflow: "w", InputJson: `{"n": 1}`}
	got, err := jsonCodec{name: "json"}.MarshalStable(message)
	if want := `{"workflow":"w","inputJson":"{\"n\": 1}"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	appended, err := jsonCodec{name: inlineCodec, inline: true}.MarshalAppend([]byte("before"), &runsv1.NewRun{InputJson: "1"})
	if err != nil || string(appended) != `before{"input":1}` {
		t.Errorf("got %s, %v", appended, err)
	}
}

// TestShortNamesAreFree holds the contract's own names to what the codec assumes.
func TestShortNamesAreFree(t *testing.T) {
	t.Parallel()
	payloads := 0
	_ = workersv1.File_tenon_workers_v1_workers_proto // registers the worker protocol
	protoregistry.GlobalTypes.RangeMessages(func(kind protoreflect.MessageType) bool {
		name := kind.Descriptor().FullName()
		if known := shapeOf(kind.Descriptor()); known != nil && strings.HasPrefix(string(name), "tenon.") {
			for key, entry := range known.fields {
				if entry.message == nil && entry.short == "" {
					t.Errorf("%s: the short name of %s is another field's", name, key)
				}
				if entry.message == nil {
					payloads++
				}
			}
		}
		return true
	})
	if payloads == 0 {
		t.Error("no payload field was found: the option's number or name has changed")
	}
}

// FuzzPayload: what is JSON goes through byte for byte, both ways; what is not is refused.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		wild, `1`, `-0`, `1E+5`, `"\ud800"`, `{}`, `[[],{}]`, ` true `, `nul`, `{"a":}`, `[1,]`, "\"\x7f\"", "\"\xff\"", `"}`, `1}`, `{"input":{"inputJson":1}}`,
		`"`, `01`, `.5`, "", "\u2028", `"</script>"`, "[\r\n\t]",
	} {
		f.Add(seed)
	}
	codec := jsonCodec{name: inlineCodec, inline: true}
	f.Fuzz(func(t *testing.T, payload string) {
		var got runsv1.TriggerRequest
		err := codec.Unmarshal([]byte(`{"run":{"workflow":"w","input":`+payload+`}}`), &got)
		trimmed := strings.Trim(payload, " \t\r\n")
		switch valid := json.Valid([]byte(payload)); {
		case err == nil && !valid && json.Valid([]byte(`{"run":{"workflow":"w","input":`+payload+`}}`)):
			return // Closed the object by itself and opened others: JSON, only not one value.
		case err == nil && !valid:
			t.Fatalf("payload %q is no JSON, and was taken as %q", payload, got.GetRun().GetInputJson())
		case err != nil && valid && !strings.Contains(err.Error(), "UTF-8") && !strings.Contains(err.Error(), "nested deeper"):
			t.Fatalf("payload %q is JSON, and was refused: %v", payload, err)
		case err != nil:
			return
		}
		if got.GetRun().GetInputJson() != trimmed {
			t.Fatalf("payload %q arrived as %q", trimmed, got.GetRun().GetInputJson())
		}
		answer, err := codec.Marshal(&got)
		if err != nil || !bytes.Contains(answer, []byte(trimmed)) {
			t.Fatalf("payload %q is not in the answer %s (%v)", trimmed, answer, err)
		}
		var again runsv1.TriggerRequest
		if err := codec.Unmarshal(answer, &again); err != nil || !proto.Equal(&got, &again) {
			t.Fatalf("answer %s reads back as %v (%v), was %v", answer, &again, err, &got)
		}
	})
}
