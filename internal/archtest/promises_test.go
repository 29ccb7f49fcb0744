package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that docs/promises.md names exist in the packages that it names.
func TestPromisesNameRealTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| P") {
			continue
		}
		rows++
		faults, named := missingTests("../..", line)
		for _, fault := range faults {
			t.Error(fault)
		}
		if named == 0 && !strings.Contains(line, "waits for") {
			t.Errorf("no test and no feature to wait for: %s", line)
		}
	}
	if want := 12; rows != want {
		t.Errorf("the page has %d promises, want %d", rows, want)
	}
}

func TestMissingTestsAreFound(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "x_test.go"), []byte("func TestA(t *testing.T) {\nfunc TestAB(t *testing.T) {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]int{
		"`./`: `TestA`, `TestAB`": 0, "`./`: `TestA`, `TestB`": 1, "`TestA`": 1, "`no/such`: `TestA`": 1,
	} {
		if got, _ := missingTests(root, line); len(got) != want {
			t.Errorf("%s: found %v", line, got)
		}
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// missingTests reads a line such as "`folder`: `TestA`, `TestB`" and tells what does not exist below root, and how many tests are named.
func missingTests(root, line string) (faults []string, named int) {
	folder, declared := "", ""
	for _, found := range quoted.FindAllStringSubmatch(line, -1) {
		switch name := found[1]; {
		case strings.Contains(name, "/"):
			folder, declared = name, ""
			files, _ := filepath.Glob(filepath.Join(root, name, "*_test.go")) // the pattern is well formed
			for _, file := range files {
				text, err := os.ReadFile(file) //nolint:gosec // a file of this repository
				if err != nil {
					faults = append(faults, err.Error())
				}
				declared += string(text)
			}
		case strings.HasPrefix(name, "Test"):
			named++
			if !strings.Contains(declared, "func "+name+"(t *testing.T)") {
				faults = append(faults, fmt.Sprintf("there is no %s in %q", name, folder))
			}
		}
	}
	return faults, named
}
