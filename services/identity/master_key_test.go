package identity

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLoadMasterKey(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{0xab}, masterKeyBytes)
	got, err := LoadMasterKey(" "+hex.EncodeToString(key)+"\n", "/does/not/exist", false)
	if err != nil || !bytes.Equal(got, key) {
		t.Errorf("from the variable: %x %v", got, err)
	}
	_, err = LoadMasterKey("c2hvcnQ=", "", false)
	if err == nil || !strings.Contains(err.Error(), "TENON_MASTER_KEY") || strings.Contains(err.Error(), "c2hvcnQ=") {
		t.Errorf("too short: %v", err)
	}
	if _, err = LoadMasterKey("", "", true); err == nil {
		t.Error("neither variable nor file, and no error")
	}
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err = LoadMasterKey("", path, false); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	keys := make([][]byte, 8)
	var wait sync.WaitGroup
	for i := range keys {
		wait.Go(func() {
			made, err := LoadMasterKey("", path, true)
			if err != nil {
				t.Error(err)
			}
			keys[i] = made
		})
	}
	wait.Wait()
	for _, made := range keys {
		if len(made) != masterKeyBytes || !bytes.Equal(made, keys[0]) {
			t.Fatal("processes that start together got different keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

func TestAMasterKeyThatOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(bytes.Repeat([]byte{1}, masterKeyBytes))), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, allowed := range map[os.FileMode]bool{0o400: true, 0o600: true, 0o640: true, 0o440: true, 0o644: false, 0o604: false, 0o620: false, 0o660: false, 0o601: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadMasterKey("", path, false)
		if (err == nil) != allowed {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "chmod 0600 "+path) || !strings.Contains(err.Error(), "TENON_MASTER_KEY_FILE")) {
			t.Errorf("mode %04o: the error does not say what to do: %v", mode, err)
		}
	}
	if _, err := LoadMasterKey("", filepath.Dir(path), false); err == nil || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := LoadNewMasterKey("", ""); err == nil || !strings.Contains(err.Error(), "TENON_NEW_MASTER_KEY_FILE") {
		t.Errorf("no new key: %v", err)
	}
	if key, err := LoadNewMasterKey(hex.EncodeToString(bytes.Repeat([]byte{2}, masterKeyBytes)), ""); err != nil || key[0] != 2 {
		t.Errorf("new key: %v", err)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Pool") {
		t.Errorf("empty config: %v", err)
	}
}
