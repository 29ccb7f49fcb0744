// Package index counts what the packages of a Go source tree export, how much of that is documented, and how many lines they have. It knows nothing of
// Tenon: the stdindex example's worker and the direct program that checks its result both use it.
package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Package is what was counted in one package, its test files left out.
type Package struct {
	// Path is the folder below the tree's root, with slashes.
	Path string `json:"path"`
	// Files and Lines count the .go files and their lines.
	Files int `json:"files"`
	Lines int `json:"lines"`
	// Exported counts exported types, functions, methods of exported types, constants and variables; Documented those with a doc comment.
	Exported   int `json:"exported"`
	Documented int `json:"documented"`
	// Coverage is Documented of Exported in basis points (1/100 of a percent), rounded down; 10,000 when nothing is exported.
	Coverage int `json:"coverage_bp"`
}

// Report is the sum over all packages, with each of them, ordered by path.
type Report struct {
	Packages   int       `json:"packages"`
	Files      int       `json:"files"`
	Lines      int       `json:"lines"`
	Exported   int       `json:"exported"`
	Documented int       `json:"documented"`
	ByPackage  []Package `json:"by_package"`
}

// Tree is a folder of Go sources, and the folders right below it that are left out.
type Tree struct {
	Root string   `json:"root"`
	Skip []string `json:"skip,omitempty"`
}

// Open resolves a tree's root, symbolic links included. The empty root is the standard library: src below `go env GOROOT`, without its commands.
func Open(ctx context.Context, root string) (Tree, error) {
	var tree Tree
	if root == "" {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if err != nil {
			return tree, fmt.Errorf("find the standard library by `go env GOROOT`: %w", err)
		}
		root = filepath.Join(strings.TrimSpace(string(out)), "src")
		tree.Skip = []string{"cmd"}
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return tree, fmt.Errorf("resolve the tree %s: %w", root, err)
	}
	tree.Root, err = filepath.Abs(real)
	return tree, err
}

// List gives the paths of the tree's packages, in order: the folders that hold .go files other than tests. Folders named testdata or vendor, and those
// that begin with a dot or an underscore, are left out.
func List(tree Tree) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(tree.Root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(tree.Root, name)
		if err != nil {
			return err
		}
		base := entry.Name()
		hidden := rel != "." && (base[0] == '.' || base[0] == '_')
		if hidden || base == "testdata" || base == "vendor" || slices.Contains(tree.Skip, rel) {
			return fs.SkipDir
		}
		files, err := sources(name)
		if len(files) > 0 {
			paths = append(paths, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the packages below %s: %w", tree.Root, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("there is no Go package below %s", tree.Root)
	}
	slices.Sort(paths)
	return paths, nil
}

func sources(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		if e.Type().IsRegular() && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && name[0] != '.' && name[0] != '_' {
			files = append(files, filepath.Join(dir, name))
		}
	}
	return files, nil
}

// Parse counts one package of the tree. Files of every system are counted, whatever their build constraints.
func Parse(tree Tree, path string) (Package, error) {
	out := Package{Path: path}
	files, err := sources(filepath.Join(tree.Root, filepath.FromSlash(path)))
	if err != nil {
		return out, fmt.Errorf("read package %s: %w", path, err)
	}
	set := token.NewFileSet()
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return out, fmt.Errorf("read package %s: %w", path, err)
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return out, fmt.Errorf("parse package %s: %w", path, err)
		}
		out.Files++
		out.Lines += bytes.Count(text, []byte("\n"))
		if len(text) > 0 && text[len(text)-1] != '\n' {
			out.Lines++
		}
		for _, decl := range file.Decls {
			out.count(decl)
		}
	}
	out.Coverage = 10_000
	if out.Exported > 0 {
		out.Coverage = out.Documented * 10_000 / out.Exported
	}
	return out, nil
}

func (p *Package) count(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && exportedReceiver(d) {
			p.add(1, d.Doc != nil)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					p.add(1, d.Doc != nil || s.Doc != nil || s.Comment != nil)
				}
			case *ast.ValueSpec:
				n := 0
				for _, name := range s.Names {
					if name.IsExported() {
						n++
					}
				}
				p.add(n, d.Doc != nil || s.Doc != nil || s.Comment != nil)
			}
		}
	}
}

func (p *Package) add(n int, documented bool) {
	p.Exported += n
	if documented {
		p.Documented += n
	}
}

// exportedReceiver says whether a function is no method, or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	for expr := d.Recv.List[0].Type; ; {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}

// Merge sums packages up, in whatever order they come.
func Merge(packages []Package) Report {
	r := Report{Packages: len(packages), ByPackage: slices.Clone(packages)}
	slices.SortFunc(r.ByPackage, func(a, b Package) int { return strings.Compare(a.Path, b.Path) })
	for _, p := range packages {
		r.Files += p.Files
		r.Lines += p.Lines
		r.Exported += p.Exported
		r.Documented += p.Documented
	}
	return r
}

// Digest is the SHA-256, in hex, of a report's canonical JSON.
func Digest(r Report) (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	return DigestJSON(text)
}

// DigestJSON is the SHA-256, in hex, of a text's canonical JSON: keys sorted, no white space, numbers as they stand, only what must be escaped escaped.
func DigestJSON(text []byte) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", fmt.Errorf("read the report: %w", err)
	}
	var canonical bytes.Buffer
	encoder := json.NewEncoder(&canonical)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil { // sorts the keys of maps
		return "", fmt.Errorf("write the report: %w", err)
	}
	sum := sha256.Sum256(bytes.TrimSuffix(canonical.Bytes(), []byte("\n")))
	return hex.EncodeToString(sum[:]), nil
}
