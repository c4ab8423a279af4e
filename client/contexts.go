package client

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adrg/xdg"

	"github.com/orla-edge/orla/app"
)

// contexts is contexts.toml: nodes by name.
type contexts struct {
	Current  string                   `toml:"current" example:"\"prod\""`
	Contexts map[string]contextsEntry `toml:"contexts"`
}

type contextsEntry struct {
	Admin     string `toml:"admin" example:"\"https://orla.example.com:7070\""`
	Token     string `toml:"token" example:"\"…\""`
	TokenFile string `toml:"token_file" example:"\"/home/me/.orla-token\""`
}

func (o Options) contextsFile() string {
	return filepath.Join(xdgHome(o.Getenv, "XDG_CONFIG_HOME", xdg.ConfigHome), "orla", "contexts.toml")
}

// readContexts returns what the file has; a missing file has nothing.
func (o Options) readContexts() (*app.Document, contexts, error) {
	var c contexts
	doc, err := app.ReadDocument(o.contextsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, c, nil
	}
	if err != nil {
		return nil, c, err
	}
	return doc, c, doc.Decode(&c).Err()
}

func (o Options) currentContext() (string, error) {
	_, c, err := o.readContexts()
	return c.Current, err
}

// context is the node that a context names, with its token.
func (o Options) context(name string) (target, error) {
	doc, c, err := o.readContexts()
	if err != nil {
		return target{}, err
	}
	entry, ok := c.Contexts[name]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(c.Contexts)), ", ")
		if known == "" {
			known = "none"
		}
		return target{}, fmt.Errorf("%w: %s has no context %q; it has %s", ErrNoNode, o.contextsFile(), name, known)
	}
	field := "contexts." + name
	t := target{urlFrom: fmt.Sprintf("context %q", name), tokenFrom: fmt.Sprintf("context %q", name), token: entry.Token}
	if t.url, err = parseAdmin(entry.Admin); err != nil {
		return target{}, app.Problems{doc.Problem(field+".admin", "%s", err.Error())}
	}
	if entry.TokenFile == "" || entry.Token != "" {
		return t, nil
	}
	t.tokenFrom = entry.TokenFile
	if !filepath.IsAbs(t.tokenFrom) {
		t.tokenFrom = filepath.Join(filepath.Dir(o.contextsFile()), t.tokenFrom)
	}
	if t.token, err = readToken(t.tokenFrom); err != nil && o.Token == "" && o.TokenFile == "" && o.Getenv("ORLA_TOKEN") == "" {
		return target{}, fmt.Errorf("%w: %w", ErrNoToken, app.Problems{doc.Problem(field+".token_file", "%s", err.Error())})
	}
	return t, nil
}
