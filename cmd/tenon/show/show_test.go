package show_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// A payload stands inline as the text that it is: digits, order, doubled keys and escapes included; what is no JSON stays a string.
func TestDocumentKeepsPayloads(t *testing.T) {
	t.Parallel()
	message := &runsv1.ListRunsResponse{Runs: []*runsv1.Run{
		{Id: "a", InputJson: `{"n": 12345678901234567890.10, "b": 1, "a": 2, "a": 3, "text": "<\ud83d\ude00>"}`, Revision: 1 << 60},
		{Id: "b", InputJson: "not JSON", OutputJson: "", Tasks: []*runsv1.Task{{Name: "t", OutputJson: "null"}}},
	}}
	var out strings.Builder
	if err := show.Line(&out, show.JSON, message); err != nil {
		t.Fatal(err)
	}
	want := `{"runs":[{"id":"a","input":{"n":12345678901234567890.10,"b":1,"a":2,"a":3,"text":"<\ud83d\ude00>"},"revision":"1152921504606846976"},` +
		`{"id":"b","inputJson":"not JSON","tasks":[{"name":"t","output":null}]}]}` + "\n"
	if out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
}

func TestYAML(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	message := &runsv1.Run{Id: "yes", Workflow: "1.5", InputJson: `{"text": "<\ud83d\ude00>", "lines": "a\nb", "none": [], "n": 12345678901234567890, "ok": true, "no": null}`, Revision: 7}
	if err := show.Document(&out, show.YAML, message); err != nil {
		t.Fatal(err)
	}
	want := "id: \"yes\"\nworkflow: \"1.5\"\ninput:\n  text: \"<\\U0001F600>\"\n  lines: |-\n    a\n    b\n  none: []\n  \"n\": 12345678901234567890\n  ok: true\n  \"no\": null\nrevision: \"7\"\n"
	if out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
}

func TestRowsAlign(t *testing.T) {
	t.Parallel()
	table := show.NewRows("", "NAME", "STATUS", "NOTE")
	table.Add(show.Cell{Text: "*"}, show.Cell{Text: "größe"}, show.Cell{Text: "failed", Colour: show.Red}, show.Cell{Text: "two\nlines\x1b[31m"})
	table.Add(show.Text(" ", "a-long-name", "ok", "")...)
	for colours, want := range map[bool]string{
		false: "   NAME         STATUS  NOTE\n*  größe        failed  two lines [31m\n   a-long-name  ok      -\n",
		true: "\x1b[2m \x1b[0m  \x1b[2mNAME\x1b[0m         \x1b[2mSTATUS\x1b[0m  \x1b[2mNOTE\x1b[0m\n" +
			"*  größe        \x1b[31mfailed\x1b[0m  two lines [31m\n   a-long-name  ok      -\n",
	} {
		var out strings.Builder
		if err := table.Write(&out, colours); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("colours %v: got\n%q, want\n%q", colours, out.String(), want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0ms", 999 * time.Millisecond: "999ms", time.Second: "1.00s", 9999 * time.Millisecond: "9.99s", 59950 * time.Millisecond: "59.9s",
		time.Minute + 5*time.Second: "1m05s", time.Hour + 2*time.Minute: "1h02m", 76 * time.Hour: "3d04h",
	} {
		if got := show.Duration(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		most int
		want string
	}{{"größe", 5, "größe"}, {"größen", 5, "größ…"}, {"abc", 0, "abc"}, {"abc", 1, "…"}} {
		if got := show.Clip(c.text, c.most); got != c.want {
			t.Errorf("Clip(%q, %d) is %q, want %q", c.text, c.most, got, c.want)
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	same, err := show.Diff("a", "b", "x\n", "x\n")
	if err != nil || same != "" {
		t.Errorf("%q: %v", same, err)
	}
	diff, err := show.Diff("a", "b", "x\ny\n", "x\nz\n")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := show.WriteDiff(&out, diff, true); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[1m--- a\x1b[0m\n\x1b[1m+++ b\x1b[0m\n\x1b[2m@@ -1,2 +1,2 @@\x1b[0m\n x\n\x1b[31m-y\x1b[0m\n\x1b[32m+z\x1b[0m\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestFragmentIsTheMessage(t *testing.T) {
	t.Parallel()
	got, err := show.Fragment(&runsv1.TaskError{Kind: "k", Message: "a & b"})
	if err != nil || string(got) != `{"kind":"k","message":"a & b"}` {
		t.Errorf("%s: %v", got, err)
	}
	if got, err := show.YAMLText(&runsv1.TaskError{}); err != nil || got != "{}\n" {
		t.Errorf("%q: %v", got, err)
	}
}
