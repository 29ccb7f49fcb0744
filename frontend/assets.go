package frontend

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
)

//go:embed assets/*
var assetFiles embed.FS

//go:embed scripts/*.js
var scriptFiles embed.FS

// libraries come before the dashboard's own scripts. One file holds all: htmx starts by itself as soon as the browser has a moment, and an extension
// that arrives later would not be heard.
func libraries() []string { return []string{"htmx.min.js", "hx-sse.min.js"} }

// assets serves the embedded files under names that hold a hash of their contents, so that browsers may keep them for good.
type assets struct {
	hashed map[string]string // file name -> name with hash
	bodies map[string]asset  // name with hash -> contents
}

// asset is a file as it is, and compressed.
type asset struct{ plain, packed []byte }

func loadAssets() (*assets, error) {
	out := &assets{hashed: make(map[string]string), bodies: make(map[string]asset)}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, fmt.Errorf("frontend: list the embedded assets: %w", err)
	}
	for _, entry := range entries {
		if slices.Contains(libraries(), entry.Name()) {
			continue
		}
		body, err := assetFiles.ReadFile("assets/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("frontend: read the embedded asset %s: %w", entry.Name(), err)
		}
		if err := out.add(entry.Name(), body); err != nil {
			return nil, err
		}
	}
	own, err := script()
	if err != nil {
		return nil, err
	}
	return out, out.add("app.js", own)
}

// script is all that runs in the browser, as one file.
func script() ([]byte, error) {
	own, err := fs.Glob(scriptFiles, "scripts/*.js") // sorted
	if err != nil {
		return nil, fmt.Errorf("frontend: list the embedded scripts: %w", err)
	}
	var out bytes.Buffer
	add := func(files embed.FS, names ...string) error {
		for _, name := range names {
			body, err := files.ReadFile(name)
			if err != nil {
				return fmt.Errorf("frontend: read the embedded script %s: %w", name, err)
			}
			out.Write(body)
			out.WriteString("\n;\n")
		}
		return nil
	}
	for _, name := range libraries() {
		if err := add(assetFiles, "assets/"+name); err != nil {
			return nil, err
		}
	}
	if err := add(scriptFiles, own...); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (a *assets) add(name string, body []byte) error {
	const hashLen = 12
	sum := sha256.Sum256(body)
	ext := path.Ext(name)
	hashed := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:])[:hashLen] + ext
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("frontend: compress %s: %w", name, err)
	}
	_, err = zip.Write(body)
	if err = errors.Join(err, zip.Close()); err != nil {
		return fmt.Errorf("frontend: compress %s: %w", name, err)
	}
	a.hashed[name] = hashed
	a.bodies[hashed] = asset{body, packed.Bytes()}
	return nil
}

// path returns the address of a file by its plain name.
func (a *assets) path(name string) string { return "/assets/" + a.hashed[name] }

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	file, ok := a.bodies[name]
	if !ok {
		http.Error(w, "no such asset; reload the page", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Vary", "Accept-Encoding")
	if takesGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(file.packed)
		return
	}
	_, _ = w.Write(file.plain)
}

func takesGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if name, weight, _ := strings.Cut(strings.TrimSpace(encoding), ";"); name == "gzip" && strings.TrimSpace(weight) != "q=0" {
			return true
		}
	}
	return false
}
