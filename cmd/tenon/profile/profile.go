package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// Default is the profile of who names none.
const Default = "default"

// Profile is where to call and as whom.
type Profile struct {
	Address string `yaml:"address"`
	// Token is a session token or an API token; empty once signed out.
	Token string `yaml:"token,omitempty"`
	// Email is the user's who signed in; empty for an API token.
	Email string `yaml:"email,omitempty"`
	// Tenant is the slug that a user's calls are for; an API token has its own.
	Tenant string `yaml:"tenant,omitempty"`
	// Expires is when the token ends; zero when that is not known.
	Expires time.Time `yaml:"expires,omitempty"`
	// CAFile is a PEM file of certificates to trust instead of the system's.
	CAFile string `yaml:"tls_root_ca_file,omitempty"`
	// ServerName is checked against the server's certificate instead of the address's host.
	ServerName string `yaml:"tls_server_name,omitempty"`
}

// Store is the profiles of a user.
type Store struct {
	// Current is the profile of a call that names none.
	Current  string             `yaml:"current"`
	Profiles map[string]Profile `yaml:"profiles"`

	path string
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckName says what is wrong with a profile's name.
func CheckName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("profile name %q is not 1 to 63 of a-z A-Z 0-9 . _ and -, a letter or digit first", name)
	}
	return nil
}

// Path is where profiles are kept: TENON_CONFIG_DIR, else "tenon" in the user's configuration folder.
func Path(getenv func(string) string) (string, error) {
	const file = "profiles.yaml"
	if dir := getenv("TENON_CONFIG_DIR"); dir != "" {
		return filepath.Join(dir, file), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder for profiles: %w: set TENON_CONFIG_DIR", err)
	}
	return filepath.Join(dir, "tenon", file), nil
}

// Open reads the profiles of a file; without the file there are none. A file that others can read is refused: it holds tokens.
func Open(path string) (*Store, error) {
	store := &Store{path: path, Profiles: map[string]Profile{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return store, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the profiles: %w", err)
	}
	const others = 0o077
	if runtime.GOOS != "windows" && info.Mode().Perm()&others != 0 {
		return nil, fmt.Errorf("profile file %s holds tokens and others can read it (%04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the profiles: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(store); err != nil {
		// The parser's own text may quote the line, and with it a token.
		return nil, fmt.Errorf("profile file %s can't be read as profiles: mend it, or remove it and sign in again with tenon login", path)
	}
	if store.Profiles == nil {
		store.Profiles = map[string]Profile{}
	}
	return store, nil
}

// Save writes the profiles, readable by their owner alone, in one step: a reader finds the old file or the new one.
func (s *Store) Save() error {
	text, err := yaml.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the profiles: %w", err)
	}
	dir := filepath.Dir(s.path)
	const ownerOnly = 0o700
	if err := os.MkdirAll(dir, ownerOnly); err != nil {
		return fmt.Errorf("write the profiles: %w", err)
	}
	file, err := os.CreateTemp(dir, ".profiles-*") // made with 0600
	if err != nil {
		return fmt.Errorf("write the profiles: %w", err)
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), s.path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("write the profiles: %w", err)
	}
	return nil
}

// CurrentName is the profile of a call that names none.
func (s *Store) CurrentName() string {
	if s.Current != "" {
		return s.Current
	}
	return Default
}

// Names lists the profiles by name.
func (s *Store) Names() []string {
	names := make([]string, 0, len(s.Profiles))
	for name := range s.Profiles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Path is the file that the profiles are kept in.
func (s *Store) Path() string { return s.path }
