package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"
)

const (
	// Below spaceWarn somebody should look; below spaceFail a deploy is likely to
	// be refused.
	spaceWarn = 1 << 30
	spaceFail = 100 << 20
	// filesWarn is a limit of open files that a busy node reaches: each
	// connection is one.
	filesWarn = 4096
)

// data looks at the data directory and what is in it for others' eyes.
func (c Config) data() []Finding {
	info, err := os.Stat(c.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"data", OK, c.Data + " is not there yet; the first start of a node makes it", ""}, space(nearest(c.Data))}
	}
	if err != nil {
		return []Finding{{"data", Fail, err.Error(), "run this as the user that the node runs as, or pass --data"}}
	}
	if !info.IsDir() {
		return []Finding{{"data", Fail, c.Data + " is not a directory", "move it away, or pass --data"}}
	}
	found := []Finding{c.access(info), space(c.Data)}
	token, err := os.Stat(filepath.Join(c.Data, "admin.token"))
	if err == nil && token.Mode().Perm()&0o077 != 0 {
		found = append(found, Finding{
			"admin token", Fail, fmt.Sprintf("%s can be read by others (mode %s)", filepath.Join(c.Data, token.Name()), token.Mode().Perm()),
			"chmod 600 " + filepath.Join(c.Data, token.Name()),
		})
	}
	return found
}

// access reports whether the directory can be written to, and by whom read.
func (c Config) access(info fs.FileInfo) Finding {
	f, err := os.CreateTemp(c.Data, ".doctor-")
	if err != nil {
		return Finding{"data", Fail, c.Data + " cannot be written to: " + reason(err), "run this as the user that the node runs as, or: sudo chown -R $USER " + c.Data}
	}
	err = errors.Join(f.Close(), os.Remove(f.Name()))
	if err != nil {
		return Finding{"data", Warn, err.Error(), "look at the file system of " + c.Data}
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Finding{"data", Warn, fmt.Sprintf("%s can be read by others (mode %s)", c.Data, mode), "chmod 700 " + c.Data}
	}
	return Finding{"data", OK, c.Data + " can be written to, and read by nobody else", ""}
}

// reason is an error's cause without the path, which the sentence has.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// nearest returns the closest directory above path that is there.
func nearest(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || filepath.Dir(path) == path {
			return path
		}
		path = filepath.Dir(path)
	}
}

func space(dir string) Finding {
	free, err := freeBytes(dir)
	if err != nil {
		return Finding{"disk", Warn, fmt.Sprintf("free space of %s: %v", dir, err), "look at the file system"}
	}
	return spaceFinding(dir, free)
}

func spaceFinding(dir string, free uint64) Finding {
	f := Finding{"disk", OK, humanize.IBytes(free) + " free at " + dir, ""}
	switch {
	case free < spaceFail:
		f.Status, f.Next = Fail, "make room: deploys are refused on a full disk"
	case free < spaceWarn:
		f.Status, f.Next = Warn, "make room before it is full: deploys are refused then"
	}
	return f
}

// ports reports whether a node could listen where it would.
func (c Config) ports(ctx context.Context) []Finding {
	var found []Finding
	for _, l := range []struct{ flag, addr string }{{"http", c.HTTP}, {"https", c.HTTPS}, {"admin", c.Admin}} {
		if l.addr != "" && l.addr != "off" {
			found = append(found, port(ctx, l.flag, l.addr))
		}
	}
	return found
}

func port(ctx context.Context, flag, addr string) Finding {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return Finding{"port", Fail, fmt.Sprintf("--%s %s is in use by another program", flag, addr), "stop that, or pass --" + flag + " with another port"}
	case errors.Is(err, fs.ErrPermission):
		return Finding{"port", Fail, fmt.Sprintf("--%s %s is not allowed to this user", flag, addr), "pass --" + flag + " with a port from 1024 up, or: sudo setcap cap_net_bind_service=+ep $(command -v orla)"}
	case err != nil:
		return Finding{"port", Fail, fmt.Sprintf("--%s %s: %v", flag, addr, err), "pass --" + flag + " with an address of this machine"}
	}
	if err := ln.Close(); err != nil {
		return Finding{"port", Warn, fmt.Sprintf("--%s %s: %v", flag, addr, err), ""}
	}
	return Finding{"port", OK, fmt.Sprintf("--%s %s is free", flag, addr), ""}
}
