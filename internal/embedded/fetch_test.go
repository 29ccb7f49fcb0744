package embedded

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tarball makes an npm-like package.
func tarball(t *testing.T, files map[string]string) string {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	writer := tar.NewWriter(zipped)
	for name, content := range files {
		if err := writer.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(writer.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return write(t, packed.Bytes())
}

func wheel(t *testing.T, files map[string]string) string {
	t.Helper()
	var packed bytes.Buffer
	writer := zip.NewWriter(&packed)
	for name, content := range files {
		file, err := writer.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, packed.Bytes())
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnpackTarballMakesModesAndLinks(t *testing.T) {
	t.Parallel()
	archive := tarball(t, map[string]string{
		"package/native/bin/postgres": "#!", "package/native/lib/libpq.so.5.18": "elf", "package/README.md": "no",
		"package/native/pg-symlinks.json": `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]`,
	})
	target := filepath.Join(t.TempDir(), "out")
	if err := unpackTarball(archive, "package/native/", target); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(target, "lib/libpq.so.5")); err != nil || string(content) != "elf" {
		t.Errorf("through the link: %q, %v", content, err)
	}
	if info, err := os.Stat(filepath.Join(target, "bin/postgres")); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("the program cannot be run: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(target, "README.md")); err == nil {
		t.Error("a file outside the prefix was unpacked")
	}
}

func TestUnpackStaysInItsFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	files := map[string]string{"p/../../escaped": "x"}
	if err := unpackTarball(tarball(t, files), "p/", filepath.Join(folder, "tar")); err == nil {
		t.Error("a tarball wrote outside")
	}
	if err := unpackWheel(wheel(t, map[string]string{"../escaped": "x"}), filepath.Join(folder, "zip")); err == nil {
		t.Error("a wheel wrote outside")
	}
	if err := unpackTarball(tarball(t, map[string]string{"p/pg-symlinks.json": `[{"source":"native/x","target":"native/../../escaped"}]`}), "p/", filepath.Join(folder, "link")); err == nil {
		t.Error("a link was made outside")
	}
	if _, err := os.Lstat(filepath.Join(folder, "escaped")); err == nil {
		t.Error("something escaped")
	}
}

func TestIntegrity(t *testing.T) {
	t.Parallel()
	path := write(t, []byte("package"))
	sum := sha512.Sum512([]byte("package"))
	if err := checkIntegrity(path, "sha512-"+base64.StdEncoding.EncodeToString(sum[:])); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"sha512-AAAA", "sha256-AAAA", "md5-AAAA", ""} {
		if err := checkIntegrity(path, want); err == nil {
			t.Errorf("%q is taken for the digest", want)
		}
	}
	for platform, pinned := range npmIntegrity {
		if digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(pinned.integrity, "sha512-")); err != nil || len(digest) != sha512.Size {
			t.Errorf("the pin of %s is no SHA-512", platform)
		}
		if digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(pipIntegrity[platform], "sha256-")); err != nil || len(digest) != 32 {
			t.Errorf("the pin of %s is no SHA-256", platform)
		}
	}
}

// fakePostgres puts two scripts into a folder that answer as Postgres of this version.
func fakePostgres(t *testing.T, folder, version string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(folder, name), []byte(script), 0o755); err != nil { //nolint:gosec // A program.
			t.Fatal(err)
		}
	}
}

func TestFetchGoesOnToTheNextClient(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "bin")
	var asked []string
	client := func(name string, usable bool, fetch func(string) error) fetcher {
		return fetcher{name: name, usable: func(int) bool { return usable }, fetch: func(_ context.Context, target string) error {
			asked = append(asked, name)
			return fetch(target)
		}}
	}
	clients := []fetcher{
		client("absent", false, func(string) error { return nil }),
		client("broken", true, func(string) error { return errors.New("no network") }),
		client("good", true, func(target string) error {
			return install(target, "good-18", func(fresh string) error { fakePostgres(t, filepath.Join(fresh, "bin"), "18.1"); return nil })
		}),
		client("needless", true, func(string) error { return nil }),
	}
	found, err := fetchFirst(t.Context(), clients, account{}, store, 18, slog.New(slog.DiscardHandler))
	if err != nil || found.major != 18 {
		t.Fatalf("found %v, %v", found, err)
	}
	if got := strings.Join(asked, " "); got != "broken good" {
		t.Errorf("asked %s", got)
	}
	if again := findFetched(t.Context(), account{}, store, 0); again == nil || again.major != 18 {
		t.Error("the next start does not find what was fetched")
	}
	_, err = fetchFirst(t.Context(), clients[:2], account{}, t.TempDir(), 99, slog.New(slog.DiscardHandler))
	if !errors.Is(err, errNoPostgres) || !strings.Contains(err.Error(), "no network") || !strings.Contains(err.Error(), "install") {
		t.Errorf("got %v, want the failures and an install line", err)
	}
}

func TestFindBinaries(t *testing.T) {
	folder := t.TempDir()
	fakePostgres(t, filepath.Join(folder, "new"), "17.2 (Debian 17.2-1)")
	fakePostgres(t, filepath.Join(folder, "old"), "13.9")
	t.Setenv("PG_BIN", filepath.Join(folder, "new"))
	if found, err := findBinaries(t.Context(), account{}, 0); err != nil || found.major != 17 {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := findBinaries(t.Context(), account{}, 15); err == nil || !strings.Contains(err.Error(), "made by Postgres 15") {
		t.Errorf("another major version: %v", err)
	}
	for name, want := range map[string]string{"old": "14 or newer", "none": "missing"} {
		t.Setenv("PG_BIN", filepath.Join(folder, name))
		if _, err := findBinaries(t.Context(), account{}, 0); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "PG_BIN") {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	t.Setenv("PG_BIN", "")
	t.Setenv("PATH", filepath.Join(folder, "new")+":"+os.Getenv("PATH"))
	if found, err := findBinaries(t.Context(), account{}, 17); err != nil || found == nil || found.folder != filepath.Join(folder, "new") {
		t.Errorf("on PATH: %v, %v", found, err)
	}
}
