package profiling

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

//go:embed profiling.go
var source string

// Overlay writes, into a folder, what `go build -overlay` needs to build Watch into the command whose sources lie in command, and returns the
// overlay's path.
func Overlay(folder, command string) (string, error) {
	const ownerOnly = 0o600
	code := strings.Replace(source, "\npackage profiling\n", "\npackage main\n", 1) + "\nfunc init() { Watch() }\n"
	added := filepath.Join(folder, "profiling.go.txt")
	if err := os.WriteFile(added, []byte(code), ownerOnly); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(command, "bench_profiling.go"): added}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(folder, "overlay.json")
	return overlay, os.WriteFile(overlay, text, ownerOnly)
}
