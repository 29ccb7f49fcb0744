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

func TestConfigNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Pool") {
		t.Errorf("empty config: %v", err)
	}
}
