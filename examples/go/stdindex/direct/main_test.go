package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/examples/go/stdindex/index"
)

// The digest is that of the report it prints, and a package that is gone changes it.
func TestDigestOfATree(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name, "x.go"), []byte("package x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both, report := output(t, "-root", root), output(t, "-root", root, "-report")
	sum, err := index.DigestJSON([]byte(report))
	if err != nil || sum != both {
		t.Errorf("the report's digest is %s, printed was %s, %v", sum, both, err)
	}
	if err := os.RemoveAll(filepath.Join(root, "two")); err != nil {
		t.Fatal(err)
	}
	if one := output(t, "-root", root); one == both {
		t.Error("the digest is the same without a package")
	}
}

func output(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), args, &out, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// Neither this program nor the index imports anything of Tenon's, or anything beyond the standard library.
func TestImports(t *testing.T) {
	for _, file := range []string{"main.go", "../index/index.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range parsed.Imports {
			path := strings.Trim(imported.Path.Value, `"`)
			if strings.Contains(path, ".") && path != "github.com/tenon-run/tenon/examples/go/stdindex/index" {
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
}
