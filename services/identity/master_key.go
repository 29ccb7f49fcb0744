package identity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	masterKeyBytes = 32
	// openToOthers are the permissions that a master key's file must not have: others may do nothing with it, its group may read it.
	openToOthers = 0o027
)

// LoadMasterKey returns the key that seals the signing keys. value is that of TENON_MASTER_KEY and comes first when it is not empty; else the file
// at path is read, which others than its owner and group must not be able to read, nor its group to write. Both hold 32 bytes in hex or base64.
// With create a missing file is made, readable by its owner only, with a random key; several processes may do so at once and get the same key.
// Errors name the variable or the file, never what is in it.
func LoadMasterKey(value, path string, create bool) ([]byte, error) {
	return loadMasterKey("TENON_MASTER_KEY", value, path, create)
}

// LoadNewMasterKey is LoadMasterKey for the key that Keys.Rewrap changes to: value is that of TENON_NEW_MASTER_KEY, path that of
// TENON_NEW_MASTER_KEY_FILE.
func LoadNewMasterKey(value, path string) ([]byte, error) {
	return loadMasterKey("TENON_NEW_MASTER_KEY", value, path, false)
}

func loadMasterKey(variable, value, path string, create bool) ([]byte, error) {
	if value != "" {
		return decodeMasterKey(value, variable)
	}
	if path == "" {
		return nil, fmt.Errorf("no master key: set %s (32 bytes in hex or base64; \"openssl rand -base64 32\" makes one) or %s_FILE", variable, variable)
	}
	text, err := readMasterKey(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := writeMasterKey(path); err != nil {
			return nil, fmt.Errorf("make the master key file: %w", err)
		}
		text, err = readMasterKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the master key (%s_FILE): %w", variable, err)
	}
	return decodeMasterKey(string(text), "the file "+path)
}

// readMasterKey looks at the permissions of the file that it has opened, not of one that was there a moment ago.
func readMasterKey(path string) (text []byte, err error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	if mode := info.Mode().Perm(); mode&openToOthers != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so others can read it or its group can write it: run \"chmod 0600 %s\" (0640 where a group must read it)", path, mode, path)
	}
	const most = 4096 // a key is 64 characters at most
	return io.ReadAll(io.LimitReader(file, most))
}

func decodeMasterKey(text, source string) ([]byte, error) {
	text = strings.TrimSpace(text)
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == masterKeyBytes {
			return key, nil
		}
	}
	return nil, fmt.Errorf("the master key in %s is not %d bytes in hex or base64", source, masterKeyBytes)
}

// writeMasterKey writes the whole file under another name first: a link either makes it or finds one that is complete.
func writeMasterKey(path string) (err error) {
	key := make([]byte, masterKeyBytes)
	_, _ = rand.Read(key)                                                // never fails
	file, err := os.CreateTemp(filepath.Dir(path), ".tenon-master-key-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
