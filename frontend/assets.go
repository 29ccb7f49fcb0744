package frontend

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed assets/*
var assetFiles embed.FS

// assets serves the embedded files under names that hold a hash of their contents, so that browsers may keep them for good.
type assets struct {
	hashed map[string]string // file name -> name with hash
	bodies map[string][]byte // name with hash -> contents
}

func loadAssets() (*assets, error) {
	const hashLen = 12
	out := &assets{hashed: make(map[string]string), bodies: make(map[string][]byte)}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, fmt.Errorf("frontend: list the embedded assets: %w", err)
	}
	for _, entry := range entries {
		body, err := assetFiles.ReadFile("assets/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("frontend: read the embedded asset %s: %w", entry.Name(), err)
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(entry.Name())
		name := strings.TrimSuffix(entry.Name(), ext) + "." + hex.EncodeToString(sum[:])[:hashLen] + ext
		out.hashed[entry.Name()] = name
		out.bodies[name] = body
	}
	return out, nil
}

// path returns the address of a file by its plain name.
func (a *assets) path(name string) string { return "/assets/" + a.hashed[name] }

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	body, ok := a.bodies[name]
	if !ok {
		http.Error(w, "no such asset; reload the page", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(body)
}
