package main

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/internal/testkit"
)

// An operator rotates the signing key and changes the master key with commands alone.
func TestKeysCommands(t *testing.T) {
	t.Setenv("DATABASE_URL", testkit.DatabaseURL(t))
	folder := t.TempDir()
	for i, name := range []string{"old", "new"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(hex.EncodeToString(bytes.Repeat([]byte{byte(i)}, 32))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TENON_MASTER_KEY", "")
	t.Setenv("TENON_MASTER_KEY_FILE", filepath.Join(folder, "old"))
	keys := func(command string) (string, error) {
		var out bytes.Buffer
		cmd := keysCommand()
		cmd.SetArgs([]string{command})
		cmd.SetOut(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	says := func(command string, want ...string) {
		t.Helper()
		got, err := keys(command)
		if err != nil {
			t.Fatalf("keys %s: %v", command, err)
		}
		for _, part := range want {
			if !strings.Contains(got, part) {
				t.Errorf("keys %s says %q, want %q in it", command, got, part)
			}
		}
	}
	says("rotate", "signs from") // the first
	says("rotate", "signs from")
	says("list", "announced", "signing", "VERIFIES UNTIL")
	if _, err := keys("rotate"); err == nil || !strings.Contains(err.Error(), "is announced") {
		t.Errorf("a rotation during another: %v", err)
	}
	if _, err := keys("rewrap"); err == nil || !strings.Contains(err.Error(), "TENON_NEW_MASTER_KEY") {
		t.Errorf("rewrap without a new key: %v", err)
	}
	t.Setenv("TENON_NEW_MASTER_KEY_FILE", filepath.Join(folder, "new"))
	says("rewrap", "2 signing keys")
	says("rewrap", "0 signing keys")
	t.Setenv("TENON_MASTER_KEY_FILE", "")
	if _, err := keys("list"); err == nil || !strings.Contains(err.Error(), "TENON_MASTER_KEY") {
		t.Errorf("without a master key: %v", err)
	}
	t.Setenv("DATABASE_URL", "")
	if _, err := keys("list"); err == nil || !strings.Contains(err.Error(), "DATABASE_URL") {
		t.Errorf("without a database: %v", err)
	}
}
