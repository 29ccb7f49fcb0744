package profile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-run/tenon/cmd/tenon/profile"
)

func TestSaveAndOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "profiles.yaml")
	store, err := profile.Open(path)
	if err != nil || len(store.Profiles) != 0 || store.CurrentName() != profile.Default {
		t.Fatalf("%+v: %v", store, err)
	}
	want := profile.Profile{
		Address: "https://tenon.test", Token: "eyJ", Email: "ada@example.com", Tenant: "acme", Expires: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC),
		CAFile: "ca.pem", ServerName: "tenon",
	}
	store.Profiles["one"], store.Profiles["a.two"], store.Current = want, profile.Profile{Address: "http://a.test"}, "one"
	for range 2 { // the second replaces the first
		if err := store.Save(); err != nil {
			t.Fatal(err)
		}
	}
	read, err := profile.Open(path)
	if err != nil || read.CurrentName() != "one" || read.Path() != path {
		t.Fatalf("%+v: %v", read, err)
	}
	if diff := cmp.Diff(want, read.Profiles["one"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a.two", "one"}, read.Names()); diff != "" {
		t.Error(diff)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("more than the file is left: %v %v", left, err)
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	got, err := profile.Path(func(string) string { return "/etc/somewhere" })
	if err != nil || got != filepath.Join("/etc/somewhere", "profiles.yaml") {
		t.Errorf("%s: %v", got, err)
	}
	got, err = profile.Path(func(string) string { return "" })
	if err != nil || !strings.HasSuffix(got, filepath.Join("tenon", "profiles.yaml")) {
		t.Errorf("%s: %v", got, err)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{"default": true, "prod-1.eu_west": true, "": false, "-x": false, "a b": false, "a/b": false, strings.Repeat("a", 64): false} {
		if err := profile.CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSaveSaysWhereItFailed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := profile.Open(file)
	if err == nil {
		t.Fatalf("an empty file was read as %+v", store)
	}
	below, err := profile.Open(filepath.Join(t.TempDir(), "profiles.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := below.Save(); err != nil {
		t.Error(err)
	}
}
