package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

type logOptions struct {
	paging

	task, text, level string
	follow            bool
}

func (c *cli) logsCommand() *cobra.Command {
	var o logOptions
	cmd := c.command(text{
		use: "logs RUN", short: "Show what a run's tasks have logged, oldest first",
		long: `Show what a run's tasks have logged. With --follow what is logged from now on is shown too, until the run has ended; a broken connection is
opened again. Lines of tasks that run side by side may then be out of order by time. With -o json each line that is followed is a line of JSON.`,
		example: `  tenon runs logs run_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon runs logs run_01jd8x0c2hf6vts6q3n5m0k4rz --follow
  tenon runs logs run_01jd8x0c2hf6vts6q3n5m0k4rz --task charge --level warn --text declined`,
	}, func(ctx context.Context, args []string) error { return c.logs(ctx, args[0], &o) })
	o.flags(cmd, 0, "lines")
	cmd.Flags().StringVar(&o.task, "task", "", "only lines of this task")
	cmd.Flags().StringVar(&o.text, "text", "", "only lines whose message contains this, in whatever case")
	cmd.Flags().StringVar(&o.level, "level", "", "only lines of this level or above: "+strings.Join(words(logLevels), ", "))
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what is logged until the run has ended")
	must(cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions(words(logLevels), cobra.ShellCompDirectiveNoFileComp)))
	cmd.ValidArgsFunction = c.completeRuns
	return cmd
}

var logLevels = runsv1.LogLevel(0).Descriptor()

func (c *cli) logs(ctx context.Context, id string, o *logOptions) error {
	level := runsv1.LogLevel_LOG_LEVEL_UNSPECIFIED
	if o.level != "" {
		number, err := enum(logLevels, "--level", o.level)
		if err != nil {
			return err
		}
		level = runsv1.LogLevel(number)
	}
	if o.follow && (o.limit != 0 || o.token != "") {
		return badCall("--follow shows all lines: leave --limit and --page-token out")
	}
	return c.with(func(client *tenon.Client) error {
		if o.follow {
			return c.followLogs(ctx, client, &runsv1.WatchLogsRequest{RunId: id, Task: o.task, Text: o.text, MinLevel: level})
		}
		all := &runsv1.ListLogsResponse{}
		next, err := o.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Runs().ListLogs, &runsv1.ListLogsRequest{
				RunId: id, Task: o.task, Text: o.text, MinLevel: level, PageSize: size, PageToken: token,
			})
			if err == nil && c.format == show.Table {
				// Lines go out page by page: there may be very many.
				return len(page.GetLines()), page.GetNextPageToken(), c.writeLogs(page.GetLines())
			}
			all.Lines = append(all.Lines, page.GetLines()...)
			return len(page.GetLines()), page.GetNextPageToken(), err
		})
		if err != nil {
			return err
		}
		all.NextPageToken = next
		return c.answer(all, func() error {
			c.more(&o.paging, next, "lines")
			return nil
		})
	})
}

// followLogs shows the lines as they come, each once.
func (c *cli) followLogs(ctx context.Context, client *tenon.Client, req *runsv1.WatchLogsRequest) error {
	seen := newRecent()
	err := c.keepOn(ctx, func(alive func()) (bool, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := client.Runs().WatchLogs(ctx, req)
		if err != nil {
			return false, err
		}
		defer func() {
			cancel()
			_ = stream.Close() // reports the cancel just made
		}()
		for stream.Receive() {
			alive()
			message := stream.Msg()
			req.ResumeToken = first(message.GetResumeToken(), req.GetResumeToken())
			lines := slices.DeleteFunc(message.GetLines(), func(line *runsv1.LogLine) bool { return !seen.add(line.GetId()) })
			if err := c.writeFollowed(lines); err != nil {
				return false, err
			}
		}
		return stream.Err() == nil, stream.Err()
	})
	if ctx.Err() != nil && err != nil {
		return problem{code: ExitInterrupted, message: "stopped following; run " + req.GetRunId() + " goes on"}
	}
	return err
}

func (c *cli) writeFollowed(lines []*runsv1.LogLine) error {
	if c.format == show.Table {
		return c.writeLogs(lines)
	}
	for _, line := range lines {
		if err := show.Line(c.host.Out, c.format, line); err != nil {
			return err
		}
	}
	return nil
}

// recent remembers the ids that came last: after a broken stream those of the last moments come again.
type recent struct {
	known map[string]bool
	order []string
}

func newRecent() *recent { return &recent{known: make(map[string]bool)} }

// add says whether an id is new.
func (r *recent) add(id string) bool {
	if id == "" {
		return true
	}
	if r.known[id] {
		return false
	}
	const most = 20_000
	if len(r.order) == most {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
	r.known[id], r.order = true, append(r.order, id)
	return true
}

func (c *cli) writeLogs(lines []*runsv1.LogLine) error {
	colours := c.colours(c.host.OutTerminal)
	var out strings.Builder
	for _, line := range lines {
		level, colour := strings.ToUpper(word(line.GetLevel())), show.Plain
		switch line.GetLevel() {
		case runsv1.LogLevel_LOG_LEVEL_WARN:
			colour = show.Yellow
		case runsv1.LogLevel_LOG_LEVEL_ERROR:
			colour = show.Red
		case runsv1.LogLevel_LOG_LEVEL_DEBUG:
			colour = show.Dim
		}
		task := line.GetTask()
		if line.GetAttempt() > 1 {
			task += fmt.Sprintf("#%d", line.GetAttempt())
		}
		fmt.Fprintf(&out, "%s  %s  %s  %s%s\n", show.Paint(colours, show.Dim, line.GetTime().AsTime().In(c.host.Zone).Format("2006-01-02 15:04:05.000")),
			task, show.Paint(colours, colour, fmt.Sprintf("%-5s", level)), show.Lines(line.GetMessage()), show.Paint(colours, show.Dim, fieldsOf(line.GetFieldsJson())))
	}
	_, err := c.host.Out.Write([]byte(out.String()))
	return err
}

// fieldsOf writes a line's further fields as key=value, in their order.
func fieldsOf(text string) string {
	if text == "" || text == "{}" {
		return ""
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return "  " + show.OneLine(text)
	}
	var out strings.Builder
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			break
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			break
		}
		fmt.Fprintf(&out, "  %s=%s", show.OneLine(fmt.Sprint(key)), show.OneLine(string(value)))
	}
	return out.String()
}
