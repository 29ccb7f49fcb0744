package main

import (
	"context"
	"slices"
	"time"

	"github.com/tenon-run/tenon/examples/go/stdindex/index"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// request is the input of stdlib-index.
type request struct {
	// Root is the tree to index. Default: the worker's -root, else the standard library.
	Root string `json:"root,omitempty"`
	// PaceMS makes each parse-package take this many milliseconds longer, so that there is time to watch.
	PaceMS int `json:"pace_ms,omitempty"`
}

// listing is what list-packages found.
type listing struct {
	Tree  index.Tree `json:"tree"`
	Paths []string   `json:"paths"`
}

// parseRequest is the input of parse-package.
type parseRequest struct {
	Tree   index.Tree `json:"tree"`
	Path   string     `json:"path"`
	PaceMS int        `json:"pace_ms,omitempty"`
	// Flaky makes the first attempt fail on purpose.
	Flaky bool `json:"flaky,omitempty"`
}

// parsePackage counts one package. It is a workflow of a single task, started as a child for each package.
func parsePackage() *tenon.Workflow[parseRequest, index.Package] {
	return tenon.NewTask("parse-package", func(ctx tenon.Context, in parseRequest) (index.Package, error) {
		if in.Flaky && ctx.Attempt() == 1 {
			return index.Package{}, tenon.Errorf("flaky", "package %s fails on its first attempt, on purpose", in.Path)
		}
		out, err := index.Parse(in.Tree, in.Path)
		if err != nil {
			return out, err
		}
		ctx.Logger().Info("parsed", "package", in.Path, "files", out.Files, "lines", out.Lines, "exported", out.Exported)
		return out, pace(ctx, time.Duration(in.PaceMS)*time.Millisecond)
	},
		tenon.WithDescription("Counts the files, lines and exported symbols of one Go package."),
		tenon.WithRetries(3), tenon.WithBackoff(100*time.Millisecond, 2, 2*time.Second), tenon.WithRetryOn("flaky"),
		tenon.WithExecutionTimeout(time.Minute))
}

// stdlibIndex lists the packages of a tree, has each of them parsed by a child run, and merges the results into a report.
func stdlibIndex(parse *tenon.Workflow[parseRequest, index.Package], root string) *tenon.Workflow[request, index.Report] {
	wf := tenon.NewWorkflow[request, index.Report]("stdlib-index", tenon.WithDescription("Indexes a tree of Go sources, by default the standard library."))
	list := tenon.AddTask(wf, "list-packages", func(ctx tenon.Context, in request) (listing, error) {
		if in.Root == "" {
			in.Root = root
		}
		tree, err := index.Open(ctx, in.Root)
		if err != nil {
			return listing{}, err
		}
		paths, err := index.List(tree)
		ctx.Logger().Info("listed", "root", tree.Root, "packages", len(paths))
		return listing{Tree: tree, Paths: paths}, err
	})
	each := tenon.AddTask(wf, "parse", func(ctx tenon.Context, in request) ([]index.Package, error) {
		found, err := tenon.ParentOutput(ctx, list)
		if err != nil {
			return nil, err
		}
		return tenon.Children(ctx, parse, children(found, in.PaceMS))
	}, tenon.WithParents(list), tenon.WithExecutionTimeout(time.Hour))
	tenon.AddTask(wf, "merge", func(ctx tenon.Context, _ request) (index.Report, error) {
		packages, err := tenon.ParentOutput(ctx, each)
		if err != nil {
			return index.Report{}, err
		}
		return index.Merge(packages), nil
	}, tenon.WithParents(each))
	return wf
}

// children makes one child for each package, keyed by its path. One of them is flaky: fmt, or the first when the tree has no fmt.
func children(found listing, paceMS int) []tenon.Child[parseRequest] {
	flaky := max(0, slices.Index(found.Paths, "fmt"))
	out := make([]tenon.Child[parseRequest], len(found.Paths))
	for i, path := range found.Paths {
		out[i] = tenon.Child[parseRequest]{Key: path, Input: parseRequest{Tree: found.Tree, Path: path, PaceMS: paceMS, Flaky: i == flaky}}
	}
	return out
}

// pace waits, unless the task has to stop.
func pace(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
