package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tenon-run/tenon"

// pkg is what `go list -json` tells of a package, as far as the rules look at it. Imports of tests are left out: a test may
// reach across a wall to check what stands behind it.
type pkg struct {
	ImportPath string
	Imports    []string
}

// An importRule says what the packages under some folders must not import.
type importRule struct {
	name string
	// why is told with each violation.
	why string
	// from are the folders the rule speaks about, unless one in except covers the package too.
	from, except []string
	// deny are the packages (with all below them) that must not be imported, unless one in allow covers the import too.
	deny, allow []string
	// stdOnly denies everything that is neither in the standard library nor in allow.
	stdOnly bool
}

// importRules is the one-way import direction: cmd/tenond -> internal/app -> services -> internal/*, and beside it the
// dashboard, the SDK and the command line on the wire contract alone.
func importRules() []importRule {
	const pgx = "github.com/jackc/pgx"
	rules := []importRule{
		{
			name:    "flow is pure",
			why:     "the vocabulary is shared by everything, so it can depend on nothing",
			from:    in("internal/flow"),
			stdOnly: true,
			allow:   in("internal/flow"),
		},
		{
			name:    "the engine is pure",
			why:     "the core runs under simulation: no I/O, clock or randomness may reach it through a library",
			from:    in("services/scheduler/engine"),
			stdOnly: true,
			allow:   in("services/scheduler/engine", "internal/flow"),
		},
		{
			name:   "pgx stays behind its wall",
			why:    "errors of PostgreSQL are translated and tenants set in internal/pg; whoever speaks pgx directly skips both",
			from:   in(""),
			except: in("internal/pg", "db", "services", "internal/lease", "internal/authn", "internal/authz", "internal/testkit", "internal/embedded", "internal/app", "cmd", "test", "bench"),
			deny:   []string{pgx},
		},
		{
			name:   "queries belong to services",
			why:    "generated rows never leave the service that owns the tables; others ask that service",
			from:   in(""),
			except: in("services", "db"),
			deny:   in("db/identityq", "db/registryq", "db/schedulerq", "db/dispatcherq", "db/ingestq"),
		},
		{
			name:   "shared rows are for services and for who stands in front of them",
			why:    "leases, token standing and policies are read by one internal package each; a second reader of the same rows would drift",
			from:   in(""),
			except: in("services", "db", "internal/lease", "internal/authn", "internal/authz", "internal/definition"),
			deny:   in("db/sharedq"),
		},
		{
			name:   "internal packages don't know the services",
			why:    "imports point one way, app -> services -> internal, or the first change of a service touches everything",
			from:   in("internal"),
			except: in("internal/app", "internal/archtest"),
			deny:   in("services", "frontend", "cmd", "internal/app"),
		},
		{
			name: "services don't know their composition",
			why:  "imports point one way, app -> services",
			from: in("services"),
			deny: in("internal/app", "frontend", "cmd", "sdk"),
		},
		{
			name: "the dashboard speaks the wire contract",
			why:  "it goes through the same interceptors as everyone else: a shortcut to rows would skip authorization",
			from: in("frontend"),
			deny: append(in("services", "db", "internal/pg", "internal/app"), pgx),
		},
		{
			name:  "the SDK speaks the wire contract",
			why:   "users build it without the server: it has its own module and depends on proto alone",
			from:  in("sdk"),
			deny:  in(""),
			allow: in("sdk", "proto"),
		},
		{
			name:  "the command line is a client",
			why:   "what the tool can do, any client can: it uses the SDK and the generated clients",
			from:  in("cmd/tenon"),
			deny:  in(""),
			allow: in("cmd/tenon", "sdk", "proto"),
		},
		{
			name:  "the contract stands alone",
			why:   "clients import it without the server",
			from:  in("proto"),
			deny:  in(""),
			allow: in("proto"),
		},
	}
	for _, service := range []string{"identity", "registry", "scheduler", "dispatcher", "ingest"} {
		own := in("services/"+service, "db/"+service+"q", "db/sharedq")
		rules = append(rules, importRule{
			name:  service + " keeps to itself",
			why:   "services meet through the wire contract only, so that each can run alone, and read only their own rows and the shared ones",
			from:  in("services/" + service),
			deny:  in("services", "db"),
			allow: own,
		})
	}
	return rules
}

// in gives the import paths of folders of the repository; "" is all of it.
func in(folders ...string) []string {
	paths := make([]string, len(folders))
	for i, folder := range folders {
		paths[i] = strings.TrimSuffix(module+"/"+folder, "/")
	}
	return paths
}

// covered tells whether one of the paths is the package or stands above it.
func covered(importPath string, paths []string) bool {
	return slices.ContainsFunc(paths, func(path string) bool {
		return importPath == path || strings.HasPrefix(importPath, path+"/")
	})
}

func (r importRule) forbids(importPath string) bool {
	if covered(importPath, r.allow) {
		return false
	}
	first, _, _ := strings.Cut(importPath, "/")
	return covered(importPath, r.deny) || r.stdOnly && strings.Contains(first, ".")
}

func importViolations(pkgs []pkg, rules []importRule) []string {
	var found []string
	for _, p := range pkgs {
		for _, rule := range rules {
			if !covered(p.ImportPath, rule.from) || covered(p.ImportPath, rule.except) {
				continue
			}
			for _, imported := range p.Imports {
				if rule.forbids(imported) {
					found = append(found, fmt.Sprintf("%s imports %s: %s (%s)", p.ImportPath, imported, rule.name, rule.why))
				}
			}
		}
	}
	return found
}

func TestImportDirection(t *testing.T) {
	t.Parallel()
	var pkgs []pkg
	for _, dir := range workspaceModules(t) {
		pkgs = append(pkgs, listPackages(t, dir)...)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package, so nothing was checked")
	}
	for _, violation := range importViolations(pkgs, importRules()) {
		t.Error(violation)
	}
}

// Every rule is shown an import it must refuse and one it must let pass.
func TestImportRulesBite(t *testing.T) {
	t.Parallel()
	cases := []struct{ from, refused, passed string }{
		{"internal/flow", "github.com/google/uuid", "time"},
		{"internal/flow", module + "/internal/fault", "encoding/json"},
		{"services/scheduler/engine", module + "/internal/loop", module + "/internal/flow"},
		{"services/scheduler/engine", "connectrpc.com/connect", "container/heap"},
		{"internal/bus", "github.com/jackc/pgx/v5/pgxpool", module + "/internal/flow"},
		{"internal/authn", module + "/db/identityq", module + "/db"},
		{"internal/authn", module + "/db/schedulerq", module + "/db/sharedq"},
		{"internal/app", module + "/db/sharedq", module + "/services/identity"},
		{"internal/rpc", module + "/services/identity", module + "/internal/authz"},
		{"internal/rpc", module + "/internal/app", module + "/proto/tenon/options/v1"},
		{"services/registry", module + "/services/identity", module + "/services/registry/registryrpc"},
		{"services/registry", module + "/db/identityq", module + "/db/registryq"},
		{"services/identity/identityrpc", module + "/services/scheduler", module + "/services/identity"},
		{"services/identity", module + "/internal/app", module + "/internal/pg"},
		{"services/scheduler", module + "/services/dispatcher", module + "/services/scheduler/engine"},
		{"services/scheduler", module + "/db/dispatcherq", module + "/db/sharedq"},
		{"services/dispatcher", module + "/services/scheduler/engine", "github.com/jackc/pgx/v5"},
		{"services/ingest", module + "/db/schedulerq", module + "/db/ingestq"},
		{"frontend", module + "/services/identity", module + "/proto/tenon/runs/v1/runsv1connect"},
		{"frontend/pages", module + "/db", module + "/internal/flow"},
		{"frontend", "github.com/jackc/pgx/v5", "github.com/a-h/templ"},
		{"sdk/go", module + "/internal/flow", module + "/proto/tenon/workers/v1"},
		{"cmd/tenon", module + "/internal/pg", module + "/sdk/go"},
		{"proto/tenon/runs/v1", module + "/internal/flow", module + "/proto/tenon/options/v1"},
	}
	for _, c := range cases {
		t.Run(c.from+" -> "+c.refused, func(t *testing.T) {
			t.Parallel()
			path := module + "/" + c.from
			if len(importViolations([]pkg{{path, []string{c.refused}}}, importRules())) == 0 {
				t.Errorf("%s may import %s, and must not", c.from, c.refused)
			}
			if found := importViolations([]pkg{{path, []string{c.passed}}}, importRules()); len(found) > 0 {
				t.Errorf("%s must be allowed to import %s: %v", c.from, c.passed, found)
			}
		})
	}
}

// cmd/tenond must not be taken for a package below cmd/tenon.
func TestRulesMatchWholeFolderNames(t *testing.T) {
	t.Parallel()
	server := pkg{module + "/cmd/tenond", []string{module + "/internal/app"}}
	if found := importViolations([]pkg{server}, importRules()); len(found) > 0 {
		t.Errorf("cmd/tenond was judged by the rule of cmd/tenon: %v", found)
	}
}

// listPackages gives the packages of the module in dir. A package that doesn't compile at the moment is listed too.
func listPackages(t *testing.T, dir string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v\n%s", dir, err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("reading what go list says of %s: %v", dir, err)
		}
		pkgs = append(pkgs, p)
	}
}

// workspaceModules gives the folders of all modules that go.work names.
func workspaceModules(t *testing.T) []string {
	t.Helper()
	root := repositoryRoot(t)
	cmd := exec.CommandContext(t.Context(), "go", "work", "edit", "-json", filepath.Join(root, "go.work"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("reading go.work: %v", err)
	}
	var work struct{ Use []struct{ DiskPath string } }
	if err := json.Unmarshal(out, &work); err != nil {
		t.Fatalf("reading go.work: %v", err)
	}
	if len(work.Use) == 0 {
		t.Fatal("go.work names no module")
	}
	dirs := make([]string, len(work.Use))
	for i, use := range work.Use {
		dirs[i] = filepath.Join(root, use.DiskPath)
	}
	return dirs
}
