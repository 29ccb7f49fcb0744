// Command direct indexes the same tree as the stdindex example's workflow, in one loop and without Tenon, and prints the digest of the report. Its imports
// are the index and the standard library alone, so that an agreement with the workflow's digest means something.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/tenon-run/tenon/examples/go/stdindex/index"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "direct:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("direct", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", "", "tree to index (default: the standard library)")
	whole := flags.Bool("report", false, "print the report instead of its digest")
	if err := flags.Parse(args); err != nil {
		return err
	}
	tree, err := index.Open(ctx, *root)
	if err != nil {
		return err
	}
	paths, err := index.List(tree)
	if err != nil {
		return err
	}
	packages := make([]index.Package, len(paths))
	for i, path := range paths {
		if packages[i], err = index.Parse(tree, path); err != nil {
			return err
		}
	}
	report := index.Merge(packages)
	if *whole {
		return json.NewEncoder(stdout).Encode(report)
	}
	digest, err := index.Digest(report)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, digest)
	return err
}
