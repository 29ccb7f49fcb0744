package ground

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BuildCommit checks a commit out into folder, and compiles its server, and the workers and clients with its SDK. What measures stays the same: the bench of
// this checkout is built against that commit. Where it cannot be, the commit's own is. The checkout is removed again.
func BuildCommit(ctx context.Context, folder, commit string, log *slog.Logger) (programs Programs, err error) {
	ours, err := packageFolder(ctx, ".", "github.com/tenon-run/tenon/bench")
	if err != nil {
		return programs, err
	}
	checkout := filepath.Join(folder, "checkout")
	if err := git(ctx, ours, "worktree", "add", "--detach", checkout, commit); err != nil {
		return programs, err
	}
	defer func() {
		err = errors.Join(err, git(context.WithoutCancel(ctx), ours, "worktree", "remove", "--force", checkout))
	}()
	programs = Programs{Server: filepath.Join(folder, "tenond"), Roles: filepath.Join(folder, "roles")}
	if err := goCommand(ctx, checkout, "build", "-o", programs.Server, "./cmd/tenond"); err != nil {
		return programs, err
	}
	theirs := filepath.Join(checkout, "bench")
	if err := os.Rename(theirs, filepath.Join(folder, "bench-of-commit")); err != nil {
		return programs, fmt.Errorf("%s has no bench: %w", commit, err)
	}
	if err := os.CopyFS(theirs, os.DirFS(ours)); err != nil { // with kept results, which are small
		return programs, err
	}
	err = goCommand(ctx, theirs, "build", "-o", programs.Roles, ".")
	if err == nil {
		return programs, nil
	}
	log.Warn("this checkout's bench does not build with the commit, so its own makes its load", "commit", commit, "error", err)
	if err := os.RemoveAll(theirs); err != nil {
		return programs, err
	}
	if err := os.Rename(filepath.Join(folder, "bench-of-commit"), theirs); err != nil {
		return programs, err
	}
	return programs, goCommand(ctx, theirs, "build", "-o", programs.Roles, ".")
}

func git(ctx context.Context, folder string, args ...string) error {
	command := exec.CommandContext(ctx, "git", args...)
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
