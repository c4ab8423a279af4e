package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// backupEvery is how often a hub looks whether it should export the register.
	backupEvery = 5 * time.Minute
	// backupsKept is how many of these exports are kept.
	backupsKept  = 3
	backupPrefix = "register-"
	backupSuffix = ".tar"
)

// backups exports the register, without content, every few minutes in which a head has
// changed, until ctx ends. The newest three are kept.
func (s *Service) backups(ctx context.Context) {
	if !s.hub() || s.cfg.Backups == "" {
		return
	}
	tick := time.NewTicker(backupEvery)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		at, err := s.backup(ctx, s.cfg.Backups, last)
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("back the register up", "error", err)
			continue
		}
		last = at
	}
}

// backup exports the register unless its heads are as they were at last. It returns how
// they are.
func (s *Service) backup(ctx context.Context, dir, last string) (string, error) {
	register := s.cfg.Register.Register()
	heads, at, err := headsOf(register.Entries)
	if err != nil || at == last || len(heads) == 0 {
		return at, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return last, err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return last, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = s.export(ctx, f, false)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return last, err
	}
	name := fmt.Sprintf("%s%020d%s", backupPrefix, register.Revision, backupSuffix)
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return last, err
	}
	return at, dropBackups(dir)
}

// dropBackups removes all but the newest.
func dropBackups(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), backupPrefix) && strings.HasSuffix(f.Name(), backupSuffix) {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-backupsKept)] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
	}
	return err
}
