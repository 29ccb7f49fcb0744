package archtest

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A sourceFile is a hand-written Go file with its path from the repository's root.
type sourceFile struct {
	path string
	ast  *ast.File
	fset *token.FileSet
}

// outside are folders that hold no code of ours.
var outside = []string{"node_modules", "testdata", "third_party", "bin"}

// readSources parses every hand-written Go file below a root, of whichever module.
func readSources(root fs.FS) ([]sourceFile, error) {
	var files []sourceFile
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && (slices.Contains(outside, entry.Name()) || strings.HasPrefix(entry.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(parsed) {
			files = append(files, sourceFile{name, parsed, fset})
		}
		return nil
	})
	return files, err
}

// sentence is a first sentence worth reading: the package's name, some words, a full stop.
var sentence = regexp.MustCompile(`^(Package|Command) \S+(\s+\S+){3,}[.:]`)

// missingPackageComments names the folders in which no file says what the package is. Where there is code, a comment in a
// test file doesn't count.
func missingPackageComments(files []sourceFile) []string {
	type standing struct{ hasCode, codeSays, testSays bool }
	folders := map[string]*standing{}
	for _, file := range files {
		folder := folders[path.Dir(file.path)]
		if folder == nil {
			folder = &standing{}
			folders[path.Dir(file.path)] = folder
		}
		says := file.ast.Doc != nil && sentence.MatchString(file.ast.Doc.Text())
		if strings.HasSuffix(file.path, "_test.go") {
			folder.testSays = folder.testSays || says
			continue
		}
		folder.hasCode = true
		folder.codeSays = folder.codeSays || says
	}
	var found []string
	for name, folder := range folders {
		if folder.codeSays || !folder.hasCode && folder.testSays {
			continue
		}
		found = append(found, name+": no file begins with a sentence `Package x ...` that tells what the package owns and who may import it")
	}
	slices.Sort(found)
	return found
}

// platformSuffix is a file name that Go builds on some systems only.
var platformSuffix = regexp.MustCompile(`_(linux|darwin|windows|freebsd|netbsd|openbsd|js|wasm|386|amd64|arm|arm64)(_test)?\.go$`)

// hiddenFiles names the files that a plain `go build` or `go test` leaves out. Files for one operating system are allowed in
// internal/embedded, which starts other programs.
func hiddenFiles(files []sourceFile) []string {
	var found []string
	for _, file := range files {
		if platformSuffix.MatchString(file.path) && path.Dir(file.path) != "internal/embedded" {
			found = append(found, file.path+": its name's suffix hides it on other systems")
		}
		for _, group := range file.ast.Comments {
			for _, comment := range group.List {
				if comment.Pos() < file.ast.Package && (constraint.IsGoBuild(comment.Text) || constraint.IsPlusBuild(comment.Text)) {
					found = append(found, file.path+": a build constraint hides it; every file is built and every test run by the plain command")
				}
			}
		}
	}
	return found
}

// skippedTests names the calls that would end a test without a verdict.
func skippedTests(files []sourceFile) []string {
	var found []string
	for _, file := range files {
		ast.Inspect(file.ast, func(node ast.Node) bool {
			call, isCall := node.(*ast.CallExpr)
			if !isCall {
				return true
			}
			selector, isSelector := call.Fun.(*ast.SelectorExpr)
			if !isSelector {
				return true
			}
			receiver, isName := selector.X.(*ast.Ident)
			if isName && slices.Contains([]string{"t", "tb", "b", "f"}, receiver.Name) &&
				slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, selector.Sel.Name) {
				found = append(found, fmt.Sprintf("%s: %s.%s leaves the test without a verdict; let setup-test.sh bring what it needs",
					file.fset.Position(call.Pos()), receiver.Name, selector.Sel.Name))
			}
			return true
		})
	}
	return found
}

// gluedParameters names the lines of SQL with `=@`: sqlc takes it for an operator and drops the parameter without a word.
func gluedParameters(root fs.FS) ([]string, error) {
	var found []string
	names, err := fs.Glob(root, "db/queries/*/*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, "=@") {
				found = append(found, fmt.Sprintf("%s:%d: write `= @name` with a space, or sqlc drops the parameter", name, i+1))
			}
		}
	}
	return found, nil
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	report(t, missingPackageComments(repositorySources(t)))
}

func TestNoFileHidesFromTheBuild(t *testing.T) {
	t.Parallel()
	report(t, hiddenFiles(repositorySources(t)))
}

func TestNoTestIsSkipped(t *testing.T) {
	t.Parallel()
	report(t, skippedTests(repositorySources(t)))
}

func TestQueryParametersStandApart(t *testing.T) {
	t.Parallel()
	found, err := gluedParameters(os.DirFS(repositoryRoot(t)))
	if err != nil {
		t.Fatal(err)
	}
	report(t, found)
}

// Each check is shown a small repository with one fault, and the same without it.
func TestSourceChecksBite(t *testing.T) {
	t.Parallel()
	sources := func(check func([]sourceFile) []string) func(fs.FS) ([]string, error) {
		return func(root fs.FS) ([]string, error) {
			files, err := readSources(root)
			return check(files), err
		}
	}
	comments, hidden, skips := sources(missingPackageComments), sources(hiddenFiles), sources(skippedTests)
	const commented = "// Package a owns the letter a; anyone may import it.\npackage a\n"
	cases := []struct {
		name       string
		check      func(fs.FS) ([]string, error)
		path, text string
		faults     int
	}{
		{"no package comment", comments, "x/a.go", "package a\n", 1},
		{"comment without a sentence", comments, "x/a.go", "// Package a\npackage a\n", 1},
		{"comment detached from the clause", comments, "x/a.go", "// Package a owns the letter a.\n\npackage a\n", 1},
		{"comment", comments, "x/a.go", commented, 0},
		{"comment of a package of tests", comments, "x/a_test.go", commented, 0},
		{"generated file", comments, "x/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage a\n", 0},
		{"somebody else's folder", comments, "x/node_modules/a.go", "package a\n", 0},
		{"build constraint", hidden, "x/a.go", "//go:build integration\n\n" + commented, 1},
		{"old build constraint", hidden, "x/a.go", "// +build integration\n\n" + commented, 1},
		{"system suffix", hidden, "x/a_linux.go", commented, 1},
		{"system suffix of a test", hidden, "x/a_darwin_test.go", commented, 1},
		{"system suffix where it is allowed", hidden, "internal/embedded/a_linux.go", commented, 0},
		{"plain file", hidden, "x/linux.go", commented, 0},
		{"constraint in a string", hidden, "x/a.go", commented + "const b = `\n//go:build x\n`\n", 0},
		{"skip", skips, "x/a_test.go", "package a\nfunc TestA(t *testing.T) { t.Skip(\"later\") }\n", 1},
		{"skip in a helper", skips, "x/kit.go", "package a\nfunc need(tb testing.TB) { tb.Skipf(\"no %s\", 1) }\n", 1},
		{"skip now in a benchmark", skips, "x/a_test.go", "package a\nfunc BenchmarkA(b *testing.B) { b.SkipNow() }\n", 1},
		{"skip of something else", skips, "x/a_test.go", "package a\nfunc TestA(t *testing.T) { reader.Skip(3) }\n", 0},
		{"glued parameter", gluedParameters, "db/queries/shared/a.sql", "SELECT 1\nWHERE id =@id;\n", 1},
		{"parameter apart", gluedParameters, "db/queries/shared/a.sql", "SELECT 1\nWHERE id = @id;\n", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			found, err := c.check(fstest.MapFS{c.path: {Data: []byte(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != c.faults {
				t.Errorf("got %d faults %q, want %d", len(found), found, c.faults)
			}
		})
	}
}

func report(t *testing.T, found []string) {
	t.Helper()
	for _, problem := range found {
		t.Error(problem)
	}
}

func repositorySources(t *testing.T) []sourceFile {
	t.Helper()
	files, err := readSources(os.DirFS(repositoryRoot(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go file was found, so nothing was checked")
	}
	return files
}

// repositoryRoot is the folder with go.work, above the folder the test runs in.
func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.work above the test's folder")
		}
		dir = parent
	}
}
