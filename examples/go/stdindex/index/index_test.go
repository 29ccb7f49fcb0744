package index

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tree writes a small source tree, reached by a symbolic link.
func tree(t *testing.T) Tree {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/a.go":               "// Package a is one.\npackage a\n\n// F is documented.\nfunc F() {}\n\nfunc G() {}\n\nfunc (t *T[K]) M() {}\n\ntype T[K any] int\n",
		"a/a_test.go":          "package a\n\nfunc TestX() {}\n",
		"a/b/b.go":             "package b\n\nconst (\n\tX = 1 // one\n\tY = 2\n\tz = 3\n)\n\ntype u int\n\n// M is no part of the package's surface.\nfunc (u) M() {}",
		"a/testdata/bad.go":    "this is no Go",
		"vendor/v/v.go":        "package v\n",
		"cmd/c/main.go":        "package main\n",
		"_hidden/h.go":         "package h\n",
		"only_tests/x_test.go": "package x\n",
	} {
		path := filepath.Join(root, "real", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(filepath.Join(root, "real"), link); err != nil {
		t.Fatal(err)
	}
	out, err := Open(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func packages(t *testing.T, tree Tree) []Package {
	t.Helper()
	paths, err := List(tree)
	if err != nil {
		t.Fatal(err)
	}
	var out []Package
	for _, path := range paths {
		p, err := Parse(tree, path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestCounts(t *testing.T) {
	tree := tree(t)
	tree.Skip = []string{"cmd"}
	got := packages(t, tree)
	want := []Package{
		{Path: "a", Files: 1, Lines: 11, Exported: 4, Documented: 1, Coverage: 2500},
		{Path: "a/b", Files: 1, Lines: 12, Exported: 2, Documented: 1, Coverage: 5000},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	tree.Skip = nil
	if got := packages(t, tree); len(got) != 3 || got[2].Path != "cmd/c" || got[2].Coverage != 10_000 {
		t.Errorf("without a skip: got %+v", got)
	}
}

func digest(t *testing.T, packages []Package) string {
	t.Helper()
	sum, err := Digest(Merge(packages))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// A report that lacks one package's result has another digest; the order in which results come changes nothing.
func TestDigestTellsADroppedPackage(t *testing.T) {
	all := packages(t, tree(t))
	whole := digest(t, all)
	for i := range all {
		if digest(t, slices.Delete(slices.Clone(all), i, i+1)) == whole {
			t.Errorf("the digest is the same without %s", all[i].Path)
		}
		// The same number of packages, one of them twice.
		doubled := slices.Clone(all)
		doubled[i] = all[(i+1)%len(all)]
		if digest(t, doubled) == whole {
			t.Errorf("the digest is the same with another package for %s", all[i].Path)
		}
	}
	slices.Reverse(all)
	if digest(t, all) != whole {
		t.Error("the digest depends on the order")
	}
}

func TestDigestIgnoresLayout(t *testing.T) {
	a, err := DigestJSON([]byte(`{"b":[1,2.50],"a":"<x>"}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := DigestJSON([]byte("{\n \"a\": \"\\u003cx>\", \"b\": [1, 2.50]}"))
	if err != nil || a != b {
		t.Errorf("got %s and %s, %v", a, b, err)
	}
	if _, err := DigestJSON([]byte("{")); err == nil {
		t.Error("half a report has a digest")
	}
}

func TestStandardLibrary(t *testing.T) {
	std, err := Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := List(std)
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 200 || !slices.Contains(paths, "fmt") || !slices.Contains(paths, "net/http") || slices.Contains(paths, "cmd/go") {
		t.Errorf("found %d packages: %v", len(paths), paths)
	}
	p, err := Parse(std, "fmt")
	if err != nil || p.Files < 4 || p.Exported < 20 || p.Documented < 20 {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := Parse(std, "no/such/package"); err == nil {
		t.Error("a missing package was parsed")
	}
}
