package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

type logOptions struct {
	paging

	task string
}

func (c *cli) logsCommand() *cobra.Command {
	var o logOptions
	cmd := c.command(text{
		use: "logs RUN", short: "Show what a run's tasks have logged, oldest first",
		example: `  tenon runs logs run_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon runs logs run_01jd8x0c2hf6vts6q3n5m0k4rz --task charge`,
	}, func(ctx context.Context, args []string) error { return c.logs(ctx, args[0], &o) })
	o.flags(cmd, 0, "lines")
	cmd.Flags().StringVar(&o.task, "task", "", "only lines of this task")
	cmd.ValidArgsFunction = c.completeRuns
	return cmd
}

func (c *cli) logs(ctx context.Context, id string, o *logOptions) error {
	return c.with(func(client *tenon.Client) error {
		all := &runsv1.ListLogsResponse{}
		next, err := o.gather(func(size int32, token string) (int, string, error) {
			page, err := ask(ctx, c, client.Runs().ListLogs, &runsv1.ListLogsRequest{RunId: id, Task: o.task, PageSize: size, PageToken: token})
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
