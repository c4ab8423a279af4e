package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// input is a file that a release holds, as it was found on disk.
type input struct {
	path  string // below the app's folder, with slashes
	name  string // below the folder that is deployed: "/docs/index.html"
	field string // of the manifest: "site.files[/docs/index.html]"
	size  int64
	info  fs.FileInfo
	hashed
}

// folder lists the files of one folder that a release holds: a site, or a
// function's files. Symbolic links are followed inside the app's folder and
// nowhere else.
type folder struct {
	root  *os.Root // the app's folder
	dir   string   // the app's folder as the person gave it
	field string   // "site.files"
	// skip holds paths below the app's folder that are Orla's own.
	skip map[string]bool

	files    []*input
	skipped  []string // dotfiles and Orla's own, a folder as one
	problems Problems
	lower    map[string]string // file names in lower case, for collisions
	dropped  int               // problems beyond maxProblems
	full     bool
}

// list walks the folder base, which is below the app's folder.
func (f *folder) list(base string) {
	f.lower = make(map[string]string)
	info, err := f.root.Stat(base)
	if err != nil {
		f.reject(base, "", "%s", reason(err, true))
		return
	}
	f.walk(base, "/", []fs.FileInfo{info})
	if f.dropped > 0 {
		f.problems = append(f.problems, Problem{File: filepath.Join(f.dir, base), Message: fmt.Sprintf("%d more problems in this folder", f.dropped)})
	}
	slices.SortFunc(f.files, func(a, b *input) int { return strings.Compare(a.name, b.name) })
}

// walk lists dir, which name stands for below the listed folder. above are the
// folders on the way to it, itself included.
func (f *folder) walk(dir, name string, above []fs.FileInfo) {
	entries, err := f.entries(dir)
	if err != nil {
		f.reject(dir, name, "%s", reason(err, false))
		return
	}
	for _, e := range entries {
		if f.full {
			return
		}
		below, entry := path.Join(dir, e.Name()), path.Join(name, e.Name())
		if strings.HasPrefix(e.Name(), ".") && entry != "/.well-known" || f.skip[below] {
			f.skipped = append(f.skipped, below)
			continue
		}
		info, err := e.Info()
		linked := err == nil && info.Mode().Type() == fs.ModeSymlink
		if linked {
			info, err = f.root.Stat(below)
		}
		switch {
		case err != nil:
			f.reject(below, entry, "%s", reason(err, linked))
		case info.IsDir():
			f.descend(below, entry, info, above)
		default:
			f.add(below, entry, info)
		}
	}
}

func (f *folder) entries(dir string) ([]fs.DirEntry, error) {
	d, err := f.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // only read
	entries, err := d.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

func (f *folder) descend(dir, name string, info fs.FileInfo, above []fs.FileInfo) {
	again := func(up fs.FileInfo) bool { return os.SameFile(up, info) }
	switch {
	case slices.ContainsFunc(above, again):
		f.reject(dir, name, "the symbolic link leads back to a folder above it; remove it")
	case len(above) >= maxFolders:
		f.reject(dir, name, "folders are nested more than %d deep", maxFolders)
	default:
		f.walk(dir, name, append(slices.Clip(above), info))
	}
}

func (f *folder) add(below, name string, info fs.FileInfo) {
	if !info.Mode().IsRegular() {
		f.reject(below, name, "%s cannot be deployed, only regular files; remove it", typeName(info.Mode()))
		return
	}
	if problem := nameProblem(name); problem != "" {
		f.reject(below, name, "%s", problem)
		return
	}
	folded := strings.ToLower(name)
	if other, ok := f.lower[folded]; ok {
		f.reject(below, name, "the name differs from %s in upper and lower case only; rename one of them", strings.TrimPrefix(other, "/"))
		return
	}
	f.lower[folded] = name
	if info.Size() > MaxFileSize {
		f.reject(below, name, "the file has %s; the most is %s", bytesText(info.Size()), bytesText(MaxFileSize))
		return
	}
	if len(f.files) == MaxFiles {
		f.reject(path.Dir(below), "", "the folder has more than %d files; deploy a part of it", MaxFiles)
		f.full = true
		return
	}
	f.files = append(f.files, &input{path: below, name: name, field: f.field + "[" + name + "]", size: info.Size(), info: info})
}

// reject adds a problem with the file at below; name is the file's name below
// the listed folder, if it is in it.
func (f *folder) reject(below, name, format string, args ...any) {
	if len(f.problems) == maxProblems {
		f.dropped++
		return
	}
	field := f.field
	if name != "" {
		field += "[" + name + "]"
	}
	f.problems = append(f.problems, Problem{File: shown(filepath.Join(f.dir, below)), Field: field, Message: fmt.Sprintf(format, args...)})
}

// shown returns a path fit for printing.
func shown(path string) string {
	if quoted := fmt.Sprintf("%q", path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}

func nameProblem(name string) string {
	switch {
	case !utf8.ValidString(name):
		return "the file's name is not UTF-8; rename it"
	case len(name) > MaxPath:
		return fmt.Sprintf("the file's path is longer than %d bytes; shorten it", MaxPath)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "the file's name has a backslash or a control character, which no URL may have; rename it"
	}
	return ""
}

// reason says why a file cannot be read, and what to do about it.
func reason(err error, linked bool) string {
	switch {
	case errors.Is(err, errChanged):
		return err.Error()
	case errors.Is(err, fs.ErrNotExist) && linked:
		return "the symbolic link leads nowhere; remove it or build what it names"
	case errors.Is(err, fs.ErrNotExist):
		return "the file vanished while it was being packed; deploy again"
	case errors.Is(err, fs.ErrPermission):
		return "the file cannot be read: permission denied"
	case strings.Contains(err.Error(), "escapes from parent"): // os keeps that error to itself
		return "the symbolic link leads out of the app's folder, as every absolute one does; put a copy in its place"
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return "the file cannot be read: " + err.Error()
}

func typeName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}
