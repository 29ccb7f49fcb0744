package command_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/tenon-run/tenon/cmd/tenon/command"
)

// leaves gives the commands that do something.
func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	var out []*cobra.Command
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() && child.Name() != "completion" {
			out = append(out, leaves(child)...)
		}
	}
	return out
}

// Every command that needs the server says so to who is not signed in, before it asks for anything.
func TestNotSignedIn(t *testing.T) {
	t.Parallel()
	local := map[string]bool{"tenon login": true, "tenon logout": true, "tenon profiles list": true, "tenon profiles use": true, "tenon version": true}
	more := map[string][]string{
		"tenon sessions end": {"--others"}, "tenon tokens create": {"--role", "viewer"}, "tenon members role": {"viewer"}, "tenon workflows diff": {"1", "2"},
	}
	y := newTypist(t)
	tried := 0
	for _, cmd := range leaves(command.New()) {
		path := cmd.CommandPath()
		if local[path] {
			continue
		}
		args := strings.Fields(path)[1:]
		for _, wanted := range strings.Fields(cmd.Use)[1:] {
			if !strings.HasPrefix(wanted, "[") && wanted != "ROLE" {
				args = append(args, "x")
			}
		}
		a := y.quietly("", append(args, more[path]...)...)
		if a.code != command.ExitNotSignedIn || a.out != "" || !strings.Contains(a.err, "not signed in") || !strings.Contains(a.err, "tenon login") {
			t.Errorf("%s: exit %d, %s%s", path, a.code, a.out, a.err)
		}
		tried++
	}
	if tried < 20 {
		t.Errorf("only %d commands were tried", tried)
	}
}

// Every command says in its help what it is for, and shows a call of itself.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range leaves(command.New()) {
		if cmd.Short == "" || !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: its help lacks a sentence or an example", cmd.CommandPath())
		}
		y := newTypist(t)
		if a := y.quietly("", append(strings.Fields(cmd.CommandPath())[1:], "--help")...); a.code != 0 || !strings.Contains(a.out, "Examples:") {
			t.Errorf("%s --help: exit %d, %s%s", cmd.CommandPath(), a.code, a.out, a.err)
		}
	}
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	y := newTypist(t)
	y.types("run")
	y.types("runs", "trigger", "greet", "--inptu", "1")
	y.types("runs", "list", "-o", "xml")
	y.types("runs", "list", "--limit", "many")
	y.types("runs", "list", "mine")
	y.types("runs", "get", "")
	y.types("version", "--timeout", "0s")
	y.types("version")
	y.types("profiles", "list")
	y.golden("wrong_calls")
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	server, y := signedIn(t)
	works(t, server)
	id := y.ended("greet", `"world"`)
	for typed, want := range map[string]string{
		"runs trigger ":            "order\tAn order from payment to parcel",
		"runs get ":                id + "\tgreet completed",
		"runs list --status ":      "timed_out",
		"runs list --workflow ":    "greet",
		"workflows get gr":         "greet",
		"tokens create x --role ":  "developer",
		"members role ":            "acme@example.com\towner",
		"members role a@b.c ":      "viewer",
		"tenants use ":             "acme",
		"profiles use ":            "default\t" + server.Address,
		"runs list --output ":      "yaml",
		"wor":                      "workflows",
		"runs watch run_x --prof":  "--profile",
		"tokens revoke ":           "tok_",
		"completion ":              "zsh",
		"runs replay x --profile ": "default",
	} {
		words := strings.Split(typed, " ")
		a := y.quietly("", append([]string{cobra.ShellCompRequestCmd}, words...)...)
		if a.code != 0 || !strings.Contains(a.out, want) {
			t.Errorf("%q offers %q, want %q (exit %d)", typed, a.out, want, a.code)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if a := y.quietly("", "completion", shell); a.code != 0 || !strings.Contains(a.out, cobra.ShellCompRequestCmd) {
			t.Errorf("completion %s: exit %d, %s", shell, a.code, a.err)
		}
	}
	stranger := newTypist(t)
	if a := stranger.quietly("", cobra.ShellCompRequestCmd, "runs", "get", ""); a.code != 0 || strings.Contains(a.out, "run_") {
		t.Errorf("who is not signed in is offered %q (exit %d)", a.out, a.code)
	}
}

// docs/cli.md is what the commands say of themselves.
func TestReference(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	page.WriteString("# The command line\n\nMade from the commands themselves; `go test ./cmd/tenon/command -run TestReference -update` writes it anew.\n\n")
	var write func(*cobra.Command)
	write = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() || cmd.Name() == "help" || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			return
		}
		var one bytes.Buffer
		anchor := func(file string) string {
			return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
		}
		if err := doc.GenMarkdownCustom(cmd, &one, anchor); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(one.String(), "### SEE ALSO")
		text, inherited, found := strings.Cut(text, "### Options inherited from parent commands")
		_ = inherited // the same for all: told once, by tenon itself
		if found {
			text = strings.TrimRight(text, "\n") + "\n\n"
		}
		fmt.Fprint(&page, text)
		for _, child := range cmd.Commands() {
			write(child)
		}
	}
	root := command.New()
	root.DisableAutoGenTag = true
	write(root)
	compare(t, filepath.Join("..", "..", "..", "docs", "cli.md"), strings.TrimRight(page.String(), "\n")+"\n")
}
