package identity

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const masterKeyBytes = 32

// LoadMasterKey returns the key that seals the signing keys. value is that of TENON_MASTER_KEY and comes first when it is not empty; else the file
// at path is read. Both hold 32 bytes in hex or base64. With create a missing file is made, readable by its owner only, with a random key; several
// processes may do so at once and get the same key. Errors name the variable or the file, never what is in it.
func LoadMasterKey(value, path string, create bool) ([]byte, error) {
	if value != "" {
		return decodeMasterKey(value, "TENON_MASTER_KEY")
	}
	if path == "" {
		return nil, errors.New("no master key: set TENON_MASTER_KEY (32 bytes in hex or base64; \"openssl rand -base64 32\" makes one) or TENON_MASTER_KEY_FILE")
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := writeMasterKey(path); err != nil {
			return nil, fmt.Errorf("make the master key file: %w", err)
		}
		text, err = os.ReadFile(path) //nolint:gosec // the operator names the file
	}
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	return decodeMasterKey(string(text), "the file "+path)
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
