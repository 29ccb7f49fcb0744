package protocols

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// interpreter has the packages of python/requirements.txt; scripts/setup-test.sh makes it, and so does `make test`.
const interpreter = "../../.venv/bin/python"

// python returns the command of the Python client, with its stubs generated into a temporary folder.
func python(t *testing.T) []string {
	t.Helper()
	installed(t, interpreter)
	stubs := t.TempDir()
	args := []string{"-m", "grpc_tools.protoc", "-I", "../../proto", "-I", "../../third_party", "--python_out", stubs, "--grpc_python_out", stubs}
	for _, root := range []string{"../../proto/tenon/options", "../../proto/tenon/runs", "../../third_party"} {
		args = append(args, protoFiles(t, root)...)
	}
	run(t, interpreter, args...)
	return []string{interpreter, "python/client.py", "--stubs", stubs}
}

// node returns the command of the Node client, with the contract's descriptors in a temporary file.
func node(t *testing.T) []string {
	t.Helper()
	installed(t, "node/node_modules/@connectrpc/connect-web/package.json")
	set := &descriptorpb.FileDescriptorSet{}
	addFile(set, runsv1.File_tenon_runs_v1_runs_proto, make(map[string]bool))
	data, err := proto.Marshal(set)
	must(t, err)
	descriptors := filepath.Join(t.TempDir(), "contract.binpb")
	must(t, os.WriteFile(descriptors, data, 0o600))
	return []string{"node", "node/client.js", "--descriptors", descriptors}
}

// addFile adds a file after everything it imports.
func addFile(set *descriptorpb.FileDescriptorSet, file protoreflect.FileDescriptor, seen map[string]bool) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		addFile(set, file.Imports().Get(i).FileDescriptor, seen)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
}

func protoFiles(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	must(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) == ".proto" {
			files = append(files, path)
		}
		return err
	}))
	if len(files) == 0 {
		t.Fatalf("there is no .proto file under %s", root)
	}
	return files
}

func installed(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("%v; install what the tests need with scripts/setup-test.sh", err)
	}
}

// run runs a command, returns its standard output, and fails the test with its standard error.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		var words string
		if failed, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it bare.
			words = string(failed.Stderr)
		}
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, words)
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
