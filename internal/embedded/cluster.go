package embedded

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxSocketFolder keeps the socket's whole path below the 104 bytes that macOS allows (Linux: 108).
const maxSocketFolder = 80

// cluster is a Postgres data directory with all that is needed to start it.
type cluster struct {
	root     string // holds data/, run/, bin/, postgres.log; belongs to owner
	sockets  string
	owner    account
	bin      binaries
	password string
	// throwaway is the folder outside of the data root that is removed at the end, empty for none.
	throwaway string
	port      int // 0: a free one each time
	settings  map[string]string
	log       *slog.Logger
}

func (c *cluster) data() string    { return filepath.Join(c.root, "data") }
func (c *cluster) logFile() string { return filepath.Join(c.root, "postgres.log") }

// prepareCluster finds or makes everything up to the moment of starting: user, folders, binaries, data, password. A cluster that comes with
// an error has made folders that tidy removes.
func prepareCluster(ctx context.Context, cfg PostgresConfig) (*cluster, error) {
	owner, err := pickAccount()
	if err != nil {
		return nil, err
	}
	root, err := pickRoot(cfg, owner)
	if err != nil {
		return nil, err
	}
	c := &cluster{root: root, owner: owner, port: cfg.Port, settings: cfg.Settings, log: cfg.Log}
	if folder := filepath.Dir(root); cfg.Throwaway && folder != cfg.DataRoot {
		c.throwaway = folder
	}
	if err := c.makeFolders(); err != nil {
		return c, err
	}
	if err := stopLeftover(ctx, c.data(), c.log); err != nil {
		return c, err
	}
	major, err := dataMajor(c.data())
	if err != nil {
		return c, err
	}
	found, err := findOrFetch(ctx, owner, filepath.Join(root, "bin"), major, c.log)
	if err != nil {
		return c, err
	}
	c.bin = *found
	passwordFile := filepath.Join(cfg.DataRoot, "password")
	if major != 0 {
		c.password, err = readPassword(passwordFile)
		return c, err
	}
	c.log.Info("embedded: making a new Postgres data directory", "data", c.data(), "version", c.bin.major)
	return c, c.create(ctx, cfg.TemplateRoot, passwordFile)
}

// pickRoot returns the folder for Postgres's own things: in the data root, or in one of its own when Postgres's user cannot get there.
func pickRoot(cfg PostgresConfig, owner account) (string, error) {
	if owner.canEnter(cfg.DataRoot) {
		return filepath.Join(cfg.DataRoot, "postgres"), nil
	}
	sum := sha256.Sum256([]byte(cfg.DataRoot))
	folder := filepath.Join(cfg.FallbackRoot, hex.EncodeToString(sum[:8]))
	err := os.MkdirAll(folder, 0o755) //nolint:gosec // Postgres's user must pass through; its own folders are 0700.
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(folder, 0o755) //nolint:gosec // The same; another process's tidy has just removed the empty folder above.
	}
	if err != nil {
		return "", fmt.Errorf("make a data folder that the user %s can reach: %w", owner.name, err)
	}
	if !owner.canEnter(folder) {
		return "", fmt.Errorf("the user %s, as whom Postgres runs, can reach neither %s nor %s: open one of them to it (chmod o+x on each folder above)", owner.name, cfg.DataRoot, folder)
	}
	cfg.Log.Warn("embedded: the user that Postgres runs as cannot reach the data folder, so data and binaries are elsewhere",
		"user", owner.name, "unreachable", cfg.DataRoot, "used", folder)
	return filepath.Join(folder, "postgres"), nil
}

func (c *cluster) makeFolders() error {
	sockets := filepath.Join(c.root, "run")
	if len(sockets) > maxSocketFolder {
		sum := sha256.Sum256([]byte(c.root))
		sockets = filepath.Join("/tmp", "tenon-"+hex.EncodeToString(sum[:8]))
	}
	for _, folder := range []string{c.root, sockets} {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make a folder for Postgres: %w", err)
		}
		// The socket folder may lie in /tmp, where somebody else could have put a link in its place.
		if info, err := os.Lstat(folder); err != nil || !info.IsDir() {
			return fmt.Errorf("%s is not a folder (%w): remove it", folder, errors.Join(err, errors.New("a file or a link stands there")))
		}
		if err := errors.Join(c.owner.own(folder), os.Chmod(folder, 0o700)); err != nil { //nolint:gosec // A folder needs its x bit.
			return err
		}
	}
	c.sockets = sockets // Only now: tidy removes what is ours.
	return nil
}

// tidy removes what is of no use once Postgres has stopped: a socket folder outside of root, and whatever a throwaway left elsewhere.
func (c *cluster) tidy() error {
	var errs []error
	if c.sockets != "" && filepath.Dir(c.sockets) != c.root {
		errs = append(errs, os.RemoveAll(c.sockets))
	}
	if c.throwaway != "" {
		errs = append(errs, os.RemoveAll(c.throwaway))
		_ = os.Remove(filepath.Dir(c.throwaway)) // It stays when others have their folders there.
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove Postgres's folders: %w", err)
	}
	return nil
}

// readPassword returns the password that the data was made with. The file is 0600 and belongs to this process's user, so Postgres's own
// user cannot read it.
func readPassword(path string) (string, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(strings.TrimSpace(string(content))) == 0 {
		return "", fmt.Errorf("%s, the password of the Postgres data beside it, is missing: put it back, or remove the data folder to start anew", path)
	}
	if err != nil {
		return "", fmt.Errorf("read Postgres's password: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// create makes the password and the data directory. The directory appears last and at once, so that a start killed in the middle is
// simply begun again by the next.
func (c *cluster) create(ctx context.Context, templates, passwordFile string) error {
	c.password = rand.Text()
	fresh := c.data() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("remove what an earlier start left: %w", err)
	}
	if err := c.fill(ctx, templates, fresh); err != nil {
		return err
	}
	if err := os.WriteFile(passwordFile, []byte(c.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write Postgres's password: %w", err)
	}
	if err := os.Rename(fresh, c.data()); err != nil {
		return fmt.Errorf("put the data directory into place: %w", err)
	}
	return nil
}

func (c *cluster) fill(ctx context.Context, templates, fresh string) error {
	if templates == "" {
		return c.initialise(ctx, fresh)
	}
	return c.useTemplate(ctx, templates, fresh)
}

// initialise runs initdb, which writes into fresh.
func (c *cluster) initialise(ctx context.Context, fresh string) error {
	passwordFile := filepath.Join(c.root, "initdb.password")
	if err := os.WriteFile(passwordFile, []byte(c.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("hand the password to initdb: %w", err)
	}
	defer os.Remove(passwordFile) //nolint:errcheck // In a 0700 folder; the next initdb overwrites it.
	if err := c.owner.own(passwordFile); err != nil {
		return err
	}
	err := runAs(ctx, c.owner, c.bin.path("initdb"), "--pgdata="+fresh, "--username="+superuser, "--pwfile="+passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C")
	if err != nil {
		return fmt.Errorf("make the Postgres data directory: %w", err)
	}
	return nil
}

// arguments are Postgres's settings. They stand on the command line, where no file in the data directory overrides them.
func (c *cluster) arguments(port int) []string {
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(port), "unix_socket_directories": c.sockets, "unix_socket_permissions": "0700",
		"max_connections": "100", "shared_buffers": "256MB", "max_wal_size": "2GB", "checkpoint_timeout": "15min",
		"random_page_cost": "1.1", "jit": "off", "timezone": "UTC", "log_timezone": "UTC", "password_encryption": "scram-sha-256",
		// The log must not repeat users' data: no DETAIL, no text of failed statements.
		"log_error_verbosity": "terse", "log_min_error_statement": "panic", "log_checkpoints": "off",
	}
	maps.Copy(settings, c.settings)
	// Last, and not to be overridden: what was acknowledged stays, in dev and in tests too.
	settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"] = "on", "on", "on"
	arguments := []string{"-D", c.data()}
	for name, value := range settings {
		arguments = append(arguments, "-c", name+"="+value)
	}
	return arguments
}

func (c *cluster) socketURL(role, name string, port int) string {
	query := url.Values{"host": {c.sockets}, "port": {strconv.Itoa(port)}, "sslmode": {"disable"}}
	address := url.URL{Scheme: "postgres", User: url.UserPassword(role, c.password), Path: "/" + name, RawQuery: query.Encode()}
	return address.String()
}
