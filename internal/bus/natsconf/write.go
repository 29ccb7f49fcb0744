package natsconf

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/tenon-run/tenon/internal/bus"
)

const (
	seedSuffix   = ".nk"
	passwordFile = "cluster.password"
	usersFile    = "users.conf"
	ownerOnly    = 0o600
	everyone     = 0o644
)

// Request says what Write is to make.
type Request struct {
	// Folder is where everything is and goes. It is made if it does not exist, closed to others.
	Folder string
	// Sets are the sets of services to have a user each. Default: each service alone, and all of them together.
	Sets [][]string
	// Nodes are the servers. Default nats-1, nats-2 and nats-3 on hosts of these names.
	Nodes []Node
	TLS   *TLS
}

// Written tells what Write made.
type Written struct {
	// Config is what the files say.
	Config Config
	// NewSeeds are the seed files that were not there before.
	NewSeeds []string
	// Files are the servers' configuration files: the users' first, then one a node.
	Files []string
}

// SeedFile is where Write puts the seed of a set of services.
func SeedFile(folder string, services []string) string {
	return filepath.Join(folder, setName(services)+seedSuffix)
}

// Write makes the seeds and the password that are missing, and writes the servers' configuration for all seeds in the folder, so that a
// user made before stays one. A seed is never overwritten; the configuration is, file by file, each in one step.
func Write(request Request) (*Written, error) {
	request = request.withDefaults()
	if err := os.MkdirAll(request.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for the NATS configuration: %w", err)
	}
	made := &Written{Config: Config{Nodes: request.Nodes, TLS: request.TLS}}
	for _, set := range request.Sets {
		path := SeedFile(request.Folder, set)
		isNew, err := makeFile(path, newSeed)
		if err != nil {
			return nil, fmt.Errorf("make a seed: %w", err)
		}
		if isNew {
			made.NewSeeds = append(made.NewSeeds, path)
		}
	}
	password := filepath.Join(request.Folder, passwordFile)
	if _, err := makeFile(password, func() ([]byte, error) { return []byte(rand.Text() + "\n"), nil }); err != nil {
		return nil, fmt.Errorf("make the cluster's password: %w", err)
	}
	text, err := os.ReadFile(password)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's password: %w", err)
	}
	made.Config.RoutePassword = strings.TrimSpace(string(text))
	if made.Config.Users, err = readUsers(request.Folder); err != nil {
		return nil, err
	}
	if err := made.Config.Validate(); err != nil {
		return nil, err
	}
	return made, made.writeConfig(request.Folder)
}

func (r Request) withDefaults() Request {
	if len(r.Sets) == 0 {
		for _, service := range bus.Services() {
			r.Sets = append(r.Sets, []string{service})
		}
		r.Sets = append(r.Sets, bus.Services())
	}
	if len(r.Nodes) == 0 {
		for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
			r.Nodes = append(r.Nodes, Node{Name: name, Host: name, ClientPort: DefaultClientPort, ClusterPort: DefaultClusterPort, MonitorPort: DefaultMonitorPort})
		}
	}
	return r
}

func (w *Written) writeConfig(folder string) error {
	users, err := w.Config.UsersFile()
	if err != nil {
		return err
	}
	w.Files = append(w.Files, filepath.Join(folder, usersFile))
	if err := replace(w.Files[0], users, everyone); err != nil {
		return err
	}
	for _, node := range w.Config.Nodes {
		path := filepath.Join(folder, node.Name+".conf")
		if err := replace(path, w.Config.NodeFile(node), ownerOnly); err != nil {
			return err
		}
		w.Files = append(w.Files, path)
	}
	return nil
}

// readUsers finds the seeds in a folder, sets of few services first.
func readUsers(folder string) ([]User, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*"+seedSuffix))
	if err != nil {
		return nil, fmt.Errorf("list the seeds: %w", err)
	}
	users := make([]User, 0, len(paths))
	for _, path := range paths {
		services, err := ParseSet(strings.TrimSuffix(filepath.Base(path), seedSuffix))
		if err != nil {
			return nil, fmt.Errorf("the seed %s is not named after services, move it away: %w", path, err)
		}
		key, err := publicKey(path)
		if err != nil {
			return nil, err
		}
		users = append(users, User{Services: services, PublicKey: key})
	}
	slices.SortFunc(users, func(a, b User) int {
		if len(a.Services) != len(b.Services) {
			return len(a.Services) - len(b.Services)
		}
		return slices.Compare(places(a), places(b))
	})
	return users, nil
}

// places are the user's services as numbers, so that users are sorted in the services' order.
func places(user User) []int {
	list := make([]int, 0, len(user.Services))
	for _, service := range user.Services {
		list = append(list, slices.Index(bus.Services(), service))
	}
	return list
}

func publicKey(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read a seed: %w", err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return "", fmt.Errorf("the file %s holds no seed of a NATS user: %w", path, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func newSeed() ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return nil, err
	}
	return append(seed, '\n'), nil
}

// makeFile writes a secret unless the file exists, and reports whether it did. A file is complete or not there.
func makeFile(path string, content func() ([]byte, error)) (made bool, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	text, err := content()
	if err != nil {
		return false, err
	}
	temporary, err := writeBeside(path, text, ownerOnly)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(temporary)) }()
	if err := os.Link(temporary, path); err != nil {
		if errors.Is(err, fs.ErrExist) { // another call was faster
			return false, nil
		}
		return false, err
	}
	return true, nil
}

func replace(path, text string, mode fs.FileMode) error {
	temporary, err := writeBeside(path, []byte(text), mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temporary))
	}
	return nil
}

func writeBeside(path string, text []byte, mode fs.FileMode) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return "", err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}
