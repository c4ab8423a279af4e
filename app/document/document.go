package document

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	// MaxSize is the largest file that is read, in bytes.
	MaxSize = 1 << 20
	// MaxDepth is how deep tables and lists may be nested.
	MaxDepth = 16
)

// Document is a parsed file. It is immutable.
type Document struct {
	file   string
	root   *node
	fields map[string]position
}

// Read parses a file from disk. The error is a [Problems] where the content is
// at fault.
func Read(path string) (*Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, errors.Unwrap(err))
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse parses data; file is the name that messages give it. The error is a
// [Problems].
func Parse(file string, data []byte) (*Document, error) {
	if len(data) > MaxSize {
		return nil, Problems{{File: file, Message: fmt.Sprintf("the file is larger than %d MiB", MaxSize>>20)}}
	}
	if p, ok := invalidText(file, data); !ok {
		return nil, Problems{p}
	}
	data = []byte(strings.TrimPrefix(string(data), "\uFEFF")) // a byte order mark, as some editors write it
	b := &builder{parser: new(unstable.Parser), lines: lineStarts(data)}
	b.root = newTable(position{})
	b.current = b.root
	b.parser.Reset(data)
	err := b.run()
	if placed, ok := errors.AsType[*placedError](err); !ok || !placed.tooDeep {
		// The library knows all rules of TOML, and where they are broken. What is
		// too deep is kept from its recursion.
		var whole map[string]any
		err = errors.Join(toml.Unmarshal(data, &whole), err)
	}
	if err != nil {
		return nil, Problems{b.problem(file, err)}
	}
	d := &Document{file: file, root: b.root, fields: make(map[string]position)}
	d.index("", b.root)
	return d, nil
}

// invalidText finds the first byte that is not UTF-8.
func invalidText(file string, data []byte) (Problem, bool) {
	line := 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			return Problem{File: file, Line: line, Message: "the text is not UTF-8; save the file in that encoding"}, false
		}
		if r == '\n' {
			line++
		}
		data = data[n:]
	}
	return Problem{}, true
}

// index records the place of every value under its field.
func (d *Document) index(field string, n *node) {
	if field != "" {
		d.fields[field] = n.at
	}
	for _, key := range n.keys {
		d.index(join(field, key), n.byKey[key])
	}
	for i, item := range n.items {
		d.index(element(field, i), item)
	}
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func element(field string, i int) string {
	return field + "[" + strconv.Itoa(i) + "]"
}

// File returns the file's name as messages give it.
func (d *Document) File() string { return d.file }

// Has reports whether the file has exactly this field.
func (d *Document) Has(field string) bool {
	_, ok := d.fields[field]
	return ok
}

// Position returns line and column of a field, or of the nearest thing around
// it that the file has: "functions.api.module" is the place of the key, or else
// that of [functions.api]. Both are zero if there is none.
func (d *Document) Position(field string) (line, column int) {
	for ; field != ""; field = parent(field) {
		if at, ok := d.fields[field]; ok {
			return at.line, at.column
		}
	}
	return 0, 0
}

// Problem returns a problem at a field's place.
func (d *Document) Problem(field, format string, args ...any) Problem {
	line, _ := d.Position(field)
	return Problem{File: d.file, Line: line, Field: field, Message: fmt.Sprintf(format, args...)}
}

// placedError is what the builder cannot represent.
type placedError struct {
	at      position
	message string
	tooDeep bool
}

func (e *placedError) Error() string { return e.message }

func (b *builder) fail(n *unstable.Node, format string, args ...any) error {
	return &placedError{at: b.position(n), message: fmt.Sprintf(format, args...)}
}

func tooDeep(at position) error {
	return &placedError{at, fmt.Sprintf("tables and lists are nested more than %d deep", MaxDepth), true}
}

func lineStarts(data []byte) []int {
	starts := []int{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

func (b *builder) position(n *unstable.Node) position {
	offset := int(n.Raw.Offset)
	line := sort.SearchInts(b.lines, offset+1)
	return position{line: line, column: offset - b.lines[line-1] + 1}
}

// problem places an error of the parser or the decoder.
func (b *builder) problem(file string, err error) Problem {
	p := Problem{File: file, Message: err.Error()}
	if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
		p.Line, p.Column = decode.Position()
		p.Message = strings.TrimPrefix(decode.Error(), "toml: ")
	} else if placed, ok := errors.AsType[*placedError](err); ok {
		p.Line, p.Column = placed.at.line, placed.at.column
	}
	return p
}
