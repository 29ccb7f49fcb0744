package checkout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// somebody is who runs a checkout's commands; nil credentials mean the user of the test.
type somebody struct {
	name       string
	credential *syscall.Credential
}

// everybody is root and an ordinary user when the tests run as root. Nobody else can become another user, so that it is the test's own user then,
// who is an ordinary one.
func everybody(t *testing.T) []somebody {
	t.Helper()
	if os.Geteuid() != 0 {
		return []somebody{{name: "user"}}
	}
	for _, name := range []string{"nobody", "daemon", "postgres"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if errors.Join(uidErr, gidErr) == nil && uid != 0 {
			return []somebody{{name: "root"}, {name: "user", credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}}
		}
	}
	t.Fatal("there is no ordinary user to test with: none of nobody, daemon and postgres is known here")
	return nil
}

// checkout is a copy of the checkout in a folder that only its user may enter, with a home and caches of its own.
type checkout struct {
	base string // closed to others: dir, home, tmp
	dir  string
	who  somebody
	env  []string
}

func newCheckout(t *testing.T, who somebody) *checkout {
	t.Helper()
	built, err := warm()
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.MkdirTemp("", "tenon-checkout-") // closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, base) })
	c := &checkout{base: base, dir: filepath.Join(base, "tenon"), who: who}
	copyCheckout(t, built.root, c.dir)
	for _, folder := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(base, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	goCache, modules := built.goCache, built.modules
	if who.credential != nil { // whose caches are out of that user's reach
		goCache, modules = filepath.Join(base, "go-build"), filepath.Join(base, "mod")
		linkTree(t, built.goCache, goCache, func(name string) bool { return strings.HasSuffix(name, ".txt") })
		for _, folder := range built.needed {
			linkTree(t, filepath.Join(built.modules, folder), filepath.Join(modules, folder), nil)
		}
		downloads := filepath.Join("cache", "download")
		linkTree(t, filepath.Join(built.modules, downloads), filepath.Join(modules, downloads), func(name string) bool {
			return strings.HasSuffix(name, ".zip") || strings.HasSuffix(name, ".lock")
		})
		giveFolders(t, base, who.credential)
	}
	c.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(base, "home"), "TMPDIR=" + filepath.Join(base, "tmp"), "LANG=C",
		"GOCACHE=" + goCache, "GOMODCACHE=" + modules, "GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=" + trimPath,
	}
	if folder := os.Getenv("PG_BIN"); folder != "" {
		c.env = append(c.env, "PG_BIN="+folder)
	}
	return c
}

// trimPath makes the results of a compilation the same wherever the checkout and the modules lie, so that every copy finds them in the cache.
const trimPath = "-trimpath"

// builds is what all copies share: the commands' packages, compiled once.
type builds struct {
	root    string   // of the checkout under test
	goCache string   // holds the compiled packages and nothing else
	modules string   // GOMODCACHE
	needed  []string // the modules' folders in it
}

// warm compiles what the commands run. It uses the user's own settings, and therefore fetches modules that are missing.
var warm = sync.OnceValues(func() (*builds, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a folder to compile into: %w", err)
	}
	b := &builds{root: root, goCache: filepath.Join(cache, "tenon", "checkout")}
	run := func(args ...string) (string, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GOCACHE="+b.goCache, "GOFLAGS="+trimPath, "GOWORK=")
		cmd.Stderr = new(bytes.Buffer)
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, cmd.Stderr)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if b.modules, err = run("env", "GOMODCACHE"); err != nil {
		return nil, err
	}
	// Go keeps the program of `go run`, but not that of `go build`.
	if _, err := run("run", "./cmd/tenond", "--version"); err != nil {
		return nil, err
	}
	programs := []string{"./examples/go/stdindex/worker", "./examples/go/stdindex/direct"}
	if _, err := run(append([]string{"build", "-buildvcs=false", "-o", os.DevNull}, programs...)...); err != nil {
		return nil, err
	}
	folders, err := run(append([]string{"list", "-deps", "-f", "{{with .Module}}{{.Dir}}{{end}}", "./cmd/tenond"}, programs...)...)
	if err != nil {
		return nil, err
	}
	for folder := range strings.Lines(folders) {
		if relative, inside := strings.CutPrefix(strings.TrimSpace(folder), b.modules+string(filepath.Separator)); inside {
			b.needed = append(b.needed, relative)
		}
	}
	slices.Sort(b.needed)
	b.needed = slices.Compact(b.needed)
	return b, nil
})

// copyCheckout copies what a clone would hold, and what is new and not ignored.
func copyCheckout(t *testing.T, from, to string) {
	t.Helper()
	names, err := listed(from)
	if err != nil {
		names, err = walked(from)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		source := filepath.Join(from, name)
		info, err := os.Lstat(source)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() { // removed since, or a link
			continue
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755)
		}
		if err == nil {
			err = copyFile(source, filepath.Join(to, name), info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listed asks git.
func listed(root string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		return nil, err // it may lie in somebody else's repository
	}
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), err
}

// walked is for an unpacked archive: everything but what builds and tests put there.
func walked(root string) ([]string, error) {
	made := []string{".git", ".tenon", "bin", "node_modules", ".venv", "__pycache__", "test-results", ".screenshots"}
	var names []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(made, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		names = append(names, name)
		return err
	})
	return names, err
}

// linkTree makes the folders of a tree anew and links its files, or copies them where links do not reach. Files stay their owner's, who lets
// everybody read them.
func linkTree(t *testing.T, from, to string, without func(name string) bool) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a cache may lose what is old at any time
			return nil
		}
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case !entry.Type().IsRegular() || without != nil && without(entry.Name()):
			return nil
		}
		err = os.Link(path, target)
		if errors.Is(err, syscall.EXDEV) {
			return copyFile(path, target, 0o755)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(from, to string, mode fs.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// giveFolders gives a tree to a user, but for the files that are linked from elsewhere: those would change hands there, too.
func giveFolders(t *testing.T, root string, to *syscall.Credential) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat := info.Sys().(*syscall.Stat_t); !entry.IsDir() && stat.Nlink > 1 {
			return nil
		}
		return os.Lchown(path, int(to.Uid), int(to.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// removeAll removes a tree with Go's read-only module folders in it.
func removeAll(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	if err := errors.Join(err, os.RemoveAll(root)); err != nil {
		t.Error(err)
	}
}
