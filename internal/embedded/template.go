package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// useTemplate fills fresh with a copy of the data kept in the template root, in a tenth of initdb's time, or makes that first.
// The lock keeps other processes' tests out meanwhile. The password comes with the data.
func (c *cluster) useTemplate(ctx context.Context, root, fresh string) (err error) {
	folder := filepath.Join(root, fmt.Sprintf("postgres-%d-%s", c.bin.major, templateForm))
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("make the folder for templates: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the templates: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the templates: %w", err)
	}
	kept := filepath.Join(folder, "data")
	if major, err := dataMajor(kept); err != nil || major == 0 {
		if err := c.initialise(ctx, fresh); err != nil {
			return err
		}
		return c.keepTemplate(fresh, folder)
	}
	password, err := os.ReadFile(filepath.Join(folder, "password"))
	if err != nil {
		return fmt.Errorf("read the template's password: %w", err)
	}
	c.password = strings.TrimSpace(string(password))
	return copyTree(kept, fresh, c.owner)
}

// templateForm changes when initialise does, so that older templates are not used any more.
const templateForm = "v1"

func (c *cluster) keepTemplate(data, folder string) error {
	fresh := folder + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(folder)); err != nil {
		return fmt.Errorf("remove an old template: %w", err)
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return fmt.Errorf("keep the data directory as a template: %w", err)
	}
	if err := copyTree(data, filepath.Join(fresh, "data"), account{}); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(fresh, "password"), []byte(c.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the template's password: %w", err)
	}
	return os.Rename(fresh, folder)
}

// copyTree copies a data directory, closed to all but its owner, as Postgres demands.
func copyTree(from, to string, owner account) error {
	err := filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir():
			err = os.Mkdir(target, 0o700)
		case entry.Type().IsRegular():
			err = copyFile(path, target)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", path)
		}
		if err != nil {
			return err
		}
		return owner.own(target)
	})
	if err != nil {
		return fmt.Errorf("copy a data directory: %w", err)
	}
	return nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // Only read.
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, copyErr := io.Copy(target, source)
	return errors.Join(copyErr, target.Close())
}
