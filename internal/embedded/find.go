package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// minMajor is the oldest Postgres that our SQL runs on.
const minMajor = 14

// binaries is a folder with postgres and initdb that the account may run.
type binaries struct {
	folder string
	major  int
}

func (b binaries) path(program string) string { return filepath.Join(b.folder, program) }

// distributionFolders are where packages put Postgres without putting it on PATH.
var distributionFolders = []string{
	"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/usr/lib/postgresql*/bin",
	"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin", "/Applications/Postgres.app/Contents/Versions/*/bin",
}

// findBinaries looks for an installed Postgres: $PG_BIN, else PATH, else the distribution folders, highest version first. want is the
// major version that existing data needs, 0 for any. It returns nil when there is none.
func findBinaries(ctx context.Context, owner account, want int) (*binaries, error) {
	if folder := os.Getenv("PG_BIN"); folder != "" {
		found, err := inspect(ctx, owner, folder)
		if err != nil {
			return nil, fmt.Errorf("PG_BIN=%s: %w", folder, err)
		}
		if want != 0 && found.major != want {
			return nil, fmt.Errorf("PG_BIN=%s is Postgres %d, the data here was made by Postgres %d: point PG_BIN to that version, or move the data away", folder, found.major, want)
		}
		return found, nil
	}
	var candidates []binaries
	if onPath, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(onPath); err == nil { // PATH often has a link to postgres alone, without initdb.
			onPath = real
		}
		if found, err := inspect(ctx, owner, filepath.Dir(onPath)); err == nil {
			candidates = append(candidates, *found)
		}
	}
	var others []binaries
	for _, pattern := range distributionFolders {
		folders, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("look for Postgres in %s: %w", pattern, err)
		}
		for _, folder := range folders {
			if found, err := inspect(ctx, owner, folder); err == nil {
				others = append(others, *found)
			}
		}
	}
	slices.SortStableFunc(others, func(a, b binaries) int { return b.major - a.major })
	for _, candidate := range append(candidates, others...) {
		if want == 0 || candidate.major == want {
			return &candidate, nil
		}
	}
	return nil, nil
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect returns the Postgres in a folder, or says why it cannot be used.
func inspect(ctx context.Context, owner account, folder string) (*binaries, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	var output []byte
	for _, program := range []string{"initdb", "postgres"} {
		path := filepath.Join(folder, program)
		if !owner.canRun(path) {
			return nil, fmt.Errorf("%s is missing, or the user that Postgres runs as may not execute it", path)
		}
		cmd := exec.CommandContext(ctx, path, "--version") // Fails when a library is missing, too.
		cmd.Env = childEnv()
		if output, err = cmd.Output(); err != nil {
			return nil, fmt.Errorf("%s --version: %w", path, err)
		}
	}
	match := versionPattern.FindSubmatch(output)
	if match == nil {
		return nil, fmt.Errorf("postgres --version in %s says %q, which names no version", folder, strings.TrimSpace(string(output)))
	}
	major, err := strconv.Atoi(string(match[1]))
	if err != nil {
		return nil, err
	}
	if major < minMajor {
		return nil, fmt.Errorf("%s is Postgres %d, Tenon needs %d or newer", folder, major, minMajor)
	}
	return &binaries{folder: folder, major: major}, nil
}

// dataMajor returns the major version that made a data directory, 0 when there is none yet.
func dataMajor(data string) (int, error) {
	content, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the data directory's version: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("%s/PG_VERSION is not a version: %w", data, err)
	}
	return major, nil
}
