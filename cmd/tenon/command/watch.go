package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/cmd/tenon/progress"
	"github.com/tenon-run/tenon/cmd/tenon/show"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

func (c *cli) watchCommand() *cobra.Command {
	cmd := c.command(text{
		use: "watch RUN", short: "Watch a run's tasks until it ends; the exit code tells how it ended",
		long: `Watch a run to its end. On a terminal its tasks are drawn as a tree that is redrawn in place; otherwise each change is a line.
With -o json each change is the whole run, as a line of JSON. A broken connection is opened again. Ctrl-C ends the watching, not the run.

` + exitCodes,
		example: `  tenon runs watch run_01jd8x0c2hf6vts6q3n5m0k4rz
  tenon runs watch run_01jd8x0c2hf6vts6q3n5m0k4rz && echo it completed
  tenon runs watch run_01jd8x0c2hf6vts6q3n5m0k4rz -o json | jq -r .status`,
	}, func(ctx context.Context, args []string) error {
		return c.with(func(client *tenon.Client) error { return c.watch(ctx, client, args[0]) })
	})
	cmd.ValidArgsFunction = c.completeRuns
	return cmd
}

// watch shows a run until it ends.
func (c *cli) watch(ctx context.Context, client *tenon.Client, id string) error {
	var run *runsv1.Run
	var err error
	switch {
	case c.format != show.Table:
		run, err = c.follow(ctx, client, id, func(run *runsv1.Run) error { return show.Line(c.host.Out, c.format, run) })
	case c.host.OutTerminal && c.host.Getenv("TERM") != "dumb":
		run, err = c.draw(ctx, client, id)
	default:
		lines := progress.Lines{Zone: c.host.Zone}
		run, err = c.follow(ctx, client, id, func(run *runsv1.Run) error {
			for _, line := range lines.Next(run, c.host.Now()) {
				if err := c.say("%s", line); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if ctx.Err() != nil && err != nil {
		return problem{code: ExitInterrupted, message: fmt.Sprintf("stopped watching; run %s goes on", id), next: "tenon runs watch " + id + ", or tenon runs cancel " + id}
	}
	if err != nil {
		return err
	}
	return c.outcome(run)
}

// draw redraws the run in place: when it changes, and now and then for the times that pass.
func (c *cli) draw(ctx context.Context, client *tenon.Client, id string) (*runsv1.Run, error) {
	const tick = 250 * time.Millisecond
	screen := progress.NewScreen(c.host.Out)
	ctx, cancel := context.WithCancel(ctx)
	changes, ended := make(chan *runsv1.Run), make(chan error, 1)
	var final *runsv1.Run
	go func() {
		var err error
		final, err = c.follow(ctx, client, id, func(run *runsv1.Run) error {
			select {
			case changes <- run:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		ended <- err
	}()
	err := func() error {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		var run *runsv1.Run
		for {
			select {
			case run = <-changes:
			case <-ticker.C:
			case err := <-ended:
				return err
			}
			if run == nil {
				continue
			}
			if err := screen.Draw(progress.Picture(run, c.host.Now(), c.room())); err != nil {
				cancel()
				if late := <-ended; !errors.Is(late, context.Canceled) {
					err = errors.Join(err, late)
				}
				return err
			}
		}
	}()
	cancel()
	return final, errors.Join(err, screen.Leave())
}

func (c *cli) room() progress.Room {
	width, height := c.host.Size()
	return progress.Room{Width: width, Height: height, Colours: c.colours(true)}
}

// follow hands over the run as it is and after each change, until it is final.
func (c *cli) follow(ctx context.Context, client *tenon.Client, id string, each func(*runsv1.Run) error) (*runsv1.Run, error) {
	revision := int64(-1)
	var final *runsv1.Run
	err := c.keepOn(ctx, func(alive func()) (bool, error) {
		err := c.stream(ctx, client, id, func(run *runsv1.Run) error {
			alive()
			if run.GetRevision() <= revision {
				return nil // seen before the stream broke
			}
			revision = run.GetRevision()
			if progress.Final(run.GetStatus()) {
				final = run
			}
			return each(run)
		})
		return final != nil, err
	})
	return final, err
}

// keepOn reads stream after stream until one says that there is nothing more to come. A stream that broke is opened again, as long as the server is
// not away for a minute; alive is called for each sign of life.
func (c *cli) keepOn(ctx context.Context, stream func(alive func()) (done bool, err error)) error {
	var last time.Time
	for failures := 0; ; failures++ {
		done, err := stream(func() { failures, last = 0, c.host.Now() })
		if done && err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		const patience = time.Minute
		if err != nil && (!passing(err) || last.IsZero() || c.host.Now().Sub(last) > patience) {
			return err
		}
		const firstPause, longest, most = 100 * time.Millisecond, 2 * time.Second, 10
		select {
		case <-time.After(min(longest, firstPause<<min(failures, most))):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stream reads one stream of a run to its end.
func (c *cli) stream(ctx context.Context, client *tenon.Client, id string, each func(*runsv1.Run) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Runs().WatchRun(ctx, &runsv1.WatchRunRequest{RunId: id})
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		_ = stream.Close() // reports the cancel just made
	}()
	for stream.Receive() {
		if run := stream.Msg().GetRun(); run != nil {
			if err := each(run); err != nil {
				return err
			}
		}
	}
	return stream.Err()
}

// passing says whether a stream may be opened again: the server restarts, a connection broke, or the caller's role has changed.
func passing(err error) bool {
	r := read(err)
	if r == nil {
		return false
	}
	return !r.wire || r.code == connect.CodeUnavailable || r.code == connect.CodeAborted
}

// outcome is how a command ends that waited for a run.
func (c *cli) outcome(run *runsv1.Run) error {
	o := &outcome{message: fmt.Sprintf("run %s %s", run.GetId(), ended(run.GetStatus()))}
	switch run.GetStatus() {
	case runsv1.RunStatus_RUN_STATUS_COMPLETED:
		return nil
	case runsv1.RunStatus_RUN_STATUS_CANCELLED:
		o.code = ExitRunCancelled
	case runsv1.RunStatus_RUN_STATUS_TIMED_OUT:
		o.code = ExitRunTimedOut
	default:
		o.code = ExitRunFailed
	}
	if e := run.GetError(); e != nil && o.code != ExitRunCancelled {
		for _, task := range run.GetTasks() {
			if task.GetError().GetMessage() == e.GetMessage() {
				o.message += " in task " + task.GetName()
				break
			}
		}
		o.message += ": " + show.OneLine(e.GetKind()+": "+e.GetMessage())
	}
	o.next = fmt.Sprintf("tenon runs logs %s, or tenon runs replay %s", run.GetId(), run.GetId())
	return o
}

func ended(s runsv1.RunStatus) string {
	switch s {
	case runsv1.RunStatus_RUN_STATUS_CANCELLED:
		return "was cancelled"
	case runsv1.RunStatus_RUN_STATUS_TIMED_OUT:
		return "timed out"
	default:
		return progress.RunStatus(s)
	}
}
