package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orla-edge/orla/app/document"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// Options tells what to pack. Only Path is needed.
type Options struct {
	// Path is an app's folder, its orla.toml, or a lone .wasm file. Empty means
	// the current folder.
	Path string
	// Name replaces the name in the file; for a lone module, the file's name.
	Name string
	// Hosts replaces the hosts in the file.
	Hosts []string
	// EveryHost adds the host "*" to the others, if it is not among them.
	EveryHost bool
	// Build runs the app's build command first.
	Build bool
	// Building is called with the build command before it runs, Built after it has
	// ended well, or where there is none, before the app's files are read. Both may
	// be nil.
	Building func(command string)
	Built    func()
	// Stdout and Stderr take the build command's output. Nil discards it.
	Stdout, Stderr io.Writer
	// Progress is called after each file that was read, with bytes; one call at
	// a time, from several goroutines. It may be nil.
	Progress func(done, total int64, path string)
}

// Pack reads an app from disk. The error is a [Problems] where the person has
// something to mend, and then holds all that was found.
func Pack(ctx context.Context, o Options) (*Package, error) {
	p, err := newPacker(o)
	if err != nil {
		return nil, err
	}
	defer p.root.Close() //nolint:errcheck // only read
	if p.build != "" && o.Build {
		if err := p.problems.Err(); err != nil {
			return nil, err // what the folder lacks is not known before the build
		}
		if o.Building != nil {
			o.Building(p.build)
		}
		if err := runBuild(ctx, p.source.dir, p.build, o.Stdout, o.Stderr); err != nil {
			return nil, err
		}
	}
	if o.Built != nil {
		o.Built()
	}
	return p.pack(ctx)
}

// packer packs one app.
type packer struct {
	opts     Options
	root     *os.Root
	source   *source
	manifest *orlav1.Manifest
	build    string            // the build command
	siteDir  string            // below the app's folder, empty without a site
	fileDirs map[string]string // function to the folder that it reads
	problems Problems
	inputs   []*input
	skipped  []string
}

// newPacker reads what o.Path names. The packer's problems are those of the
// file; the error is one that leaves nothing to pack.
func newPacker(o Options) (*packer, error) {
	o.Path = filepath.Clean(o.Path)
	info, err := os.Stat(o.Path)
	if err != nil {
		return nil, Problems{{File: o.Path, Message: "there is no such file or folder"}}
	}
	p := &packer{opts: o, source: &source{dir: o.Path, folders: make(map[string]string)}, fileDirs: make(map[string]string)}
	if !info.IsDir() {
		p.source.dir = filepath.Dir(o.Path)
	}
	switch {
	case info.IsDir() || filepath.Base(o.Path) == AppFile:
		err = p.readApp(filepath.Join(p.source.dir, AppFile))
	case strings.EqualFold(filepath.Ext(o.Path), ".wasm"):
		p.loneModule(filepath.Base(o.Path))
	default:
		err = Problems{{File: o.Path, Message: "not an app: name a folder with " + AppFile + ", or a .wasm file"}}
	}
	if err != nil {
		return nil, err
	}
	if p.root, err = os.OpenRoot(p.source.dir); err != nil {
		return nil, fmt.Errorf("open app's folder: %w", err)
	}
	return p, nil
}

func (p *packer) readApp(file string) error {
	doc, err := document.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Problems{{File: p.source.dir, Message: "the folder has no " + AppFile + "; write one that begins with name = \"…\" and [site] or [functions.NAME]"}}
	}
	if err != nil {
		return err
	}
	p.source.doc = doc
	var f appFile
	problems := doc.Decode(&f)
	if f.Name = first(p.opts.Name, f.Name); f.Name == "" && !problems.Covers("name") {
		problems = append(problems, Problem{
			File: doc.File(), Line: 1, Field: "name",
			Message: fmt.Sprintf("the app has no name; add name = %q as the first line", NameFrom(p.source.dir)),
		})
	}
	if len(p.opts.Hosts) > 0 {
		f.Hosts = p.opts.Hosts
	}
	if p.opts.EveryHost && len(f.Hosts) > 0 && !slices.Contains(f.Hosts, "*") {
		f.Hosts = append(slices.Clip(f.Hosts), "*")
	}
	c := &converter{doc: doc, source: p.source, problems: problems}
	p.manifest = c.app(&f)
	p.problems = c.problems
	if f.Build != nil {
		p.build = f.Build.Command
	}
	if f.Site != nil {
		p.siteDir = first(f.Site.Dir, "public")
	}
	for name, t := range f.Functions {
		if t.Files != "" {
			p.fileDirs[name] = t.Files
		}
	}
	return nil
}

// loneModule makes the app of a module without a file: one function for
// everything.
func (p *packer) loneModule(file string) {
	name := first(p.opts.Name, NameFrom(strings.TrimSuffix(file, filepath.Ext(file))))
	p.source.file = p.opts.Path
	p.manifest = &orlav1.Manifest{
		Name:      name,
		Kind:      orlav1.Kind_KIND_APP,
		Hosts:     hosts(p.opts.Hosts),
		Functions: []*orlav1.Function{{Name: name, Source: file}},
		Routes: []*orlav1.Route{{
			Match:  &orlav1.Match{Path: "/*"},
			Source: file,
			Target: &orlav1.Route_Function{Function: name},
		}},
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// NameFrom makes an app's name of a path's last element.
func NameFrom(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(filepath.Base(path)))
	name = strings.Trim(name, "-")
	return first(strings.Trim(name[:min(len(name), 63)], "-"), "app")
}

// pack finds and reads all files and completes the manifest.
func (p *packer) pack(ctx context.Context) (*Package, error) {
	p.find()
	h := &hasher{root: p.root, dir: p.source.dir, progress: p.opts.Progress}
	if err := h.run(ctx, p.inputs); err != nil {
		return nil, fmt.Errorf("read the app's files: %w", err)
	}
	p.problems = append(p.problems, h.problems...)
	p.fill()
	for _, v := range release.Validate(p.manifest) {
		q := p.source.problem(v.Field, v.Message)
		if !p.problems.Covers(q.Field) {
			p.problems = append(p.problems, q)
		}
	}
	if len(p.problems) > 0 {
		p.problems.Sort()
		return nil, p.problems
	}
	return p.result(), nil
}

// find lists the inputs: modules first, then folders.
func (p *packer) find() {
	own := map[string]bool{AppFile: true, RoutesFile: true}
	for _, fn := range p.manifest.Functions {
		own[clean(fn.Source)] = true
		own[clean(p.fileDirs[fn.Name])] = true
		p.findModule(fn)
	}
	for _, name := range p.manifest.GetTls().GetClientCa() {
		own[clean(name)] = true
	}
	readClientCAs(p.root, p.manifest.GetTls(), p.reject)
	if p.siteDir != "" {
		f := &folder{field: "site.files"}
		if clean(p.siteDir) == "." { // the site is the app's folder, Orla's files among it
			f.skip = own
		}
		p.findFolder(f, "site.dir", p.siteDir)
		p.refuseRuleFiles()
	}
	for _, fn := range p.manifest.Functions {
		if dir := p.fileDirs[fn.Name]; dir != "" {
			p.findFolder(&folder{field: "functions." + fn.Name + ".files"}, "functions."+fn.Name+".files", dir)
		}
	}
	var total int64
	for _, in := range p.inputs {
		total += in.size
	}
	if total > MaxTotalSize {
		p.reject("", fmt.Sprintf("the app has %s of files; the most is %s", bytesText(total), bytesText(MaxTotalSize)))
	}
}

func clean(file string) string { return path.Clean(filepath.ToSlash(file)) }

func (p *packer) reject(field, message string) {
	if !p.problems.Covers(field) {
		p.problems = append(p.problems, p.source.problem(field, message))
	}
}

func (p *packer) findModule(fn *orlav1.Function) {
	field := "functions." + fn.Name + ".module"
	if p.problems.Covers(field) {
		return
	}
	file := clean(fn.Source)
	info, err := p.root.Stat(file)
	switch {
	case !filepath.IsLocal(fn.Source):
		p.reject(field, fmt.Sprintf("module %q is outside the app's folder; name a file inside it", fn.Source))
	case errors.Is(err, fs.ErrNotExist):
		p.reject(field, fmt.Sprintf("module %q does not exist; %s", fn.Source, p.advice()))
	case err != nil:
		p.reject(field, fmt.Sprintf("module %q: %s", fn.Source, reason(err, true)))
	case !info.Mode().IsRegular():
		p.reject(field, fmt.Sprintf("module %q is not a file", fn.Source))
	case info.Size() > MaxFileSize:
		p.reject(field, fmt.Sprintf("module %q has %s; the most is %s", fn.Source, bytesText(info.Size()), bytesText(MaxFileSize)))
	default:
		p.inputs = append(p.inputs, &input{path: file, field: field, size: info.Size(), info: info})
	}
}

// advice says how something that is not there may come to be.
func (p *packer) advice() string {
	switch {
	case p.build == "":
		return "build it first, or add [build] with the command that does"
	case p.opts.Build:
		return fmt.Sprintf("the build command %q does not make it", p.build)
	}
	return fmt.Sprintf("run the build command %q first", p.build)
}

// findFolder adds the files of dir to the inputs; field is where dir is written.
func (p *packer) findFolder(f *folder, field, dir string) {
	if p.problems.Covers(field) {
		return
	}
	info, err := p.root.Stat(clean(dir))
	switch {
	case !filepath.IsLocal(dir):
		p.reject(field, fmt.Sprintf("folder %q is outside the app's folder; name one inside it", dir))
	case errors.Is(err, fs.ErrNotExist):
		p.reject(field, fmt.Sprintf("folder %q does not exist; %s", dir, p.advice()))
	case err != nil:
		p.reject(field, fmt.Sprintf("folder %q: %s", dir, reason(err, true)))
	case !info.IsDir():
		p.reject(field, fmt.Sprintf("%q is a file, not a folder", dir))
	default:
		p.source.folders[f.field] = dir
		f.root, f.dir = p.root, p.source.dir
		f.list(clean(dir))
		if len(f.files) == 0 && len(f.problems) == 0 {
			p.reject(field, fmt.Sprintf("folder %q has no files to deploy", dir))
		}
		p.inputs = append(p.inputs, f.files...)
		p.problems = append(p.problems, f.problems...)
		p.skipped = append(p.skipped, f.skipped...)
	}
}

// refuseRuleFiles names the rule files of other hosts, which would be served as
// plain files otherwise.
func (p *packer) refuseRuleFiles() {
	for _, in := range p.inputs {
		var instead string
		switch in.field {
		case "site.files[/_headers]":
			instead = "headers = { set = { … } }"
		case "site.files[/_redirects]":
			instead = "redirect = { to = … }"
		default:
			continue
		}
		p.problems = append(p.problems, Problem{
			File: filepath.Join(p.source.dir, in.path), Field: in.field,
			Message: fmt.Sprintf("this version of Orla does not apply %s; write [[routes]] with %s into %s, and remove the file", path.Base(in.path), instead, AppFile),
		})
	}
}

// fill puts what was read into the manifest.
func (p *packer) fill() {
	functions := make(map[string]*orlav1.Function)
	for _, fn := range p.manifest.Functions {
		functions["functions."+fn.Name] = fn
	}
	for _, in := range p.inputs {
		if in.digest.IsZero() {
			continue // its problem is known
		}
		file := &orlav1.File{Path: in.name, Digest: in.digest.String(), Size: in.size, MediaType: in.mediaType}
		owner, list, _ := strings.Cut(in.field, "[")
		owner, part := owner[:strings.LastIndexByte(owner, '.')], owner[strings.LastIndexByte(owner, '.')+1:]
		switch {
		case part == "module":
			functions[owner].Module, functions[owner].ModuleSize = file.Digest, file.Size
			if problem := moduleProblem(in.head); problem != "" {
				p.reject(in.field, fmt.Sprintf("%q %s", in.path, problem))
			}
		case owner == "site" && list != "":
			p.manifest.Site.Files = append(p.manifest.Site.Files, file)
		default:
			functions[owner].Files = append(functions[owner].Files, file)
		}
	}
}

// moduleProblem tells from its head what a file that should be a core module is
// instead. The node looks closer.
func moduleProblem(head []byte) string {
	const magic, version, layer = "\x00asm", "\x01\x00", "\x00\x00"
	switch h := string(head); {
	case !strings.HasPrefix(h, magic):
		return "is not a WebAssembly module; name the .wasm file that your build makes (orla module inspect shows what a file is)"
	case strings.HasPrefix(h, magic+"\x0d\x00\x01\x00"):
		return "is a WebAssembly component, which a later version of Orla will run; build a core module: a WASI preview 1 program for CGI, or an http-wasm handler"
	case !strings.HasPrefix(h, magic+version+layer):
		return "is WebAssembly of an unknown version; build a core module, version 1"
	}
	return ""
}

func (p *packer) result() *Package {
	pkg := &Package{Manifest: p.manifest, Skipped: p.skipped, source: p.source, byHash: make(map[modules.Digest]int)}
	slices.Sort(pkg.Skipped)
	for _, in := range p.inputs {
		if _, ok := pkg.byHash[in.digest]; !ok {
			pkg.byHash[in.digest] = len(pkg.Blobs)
			pkg.Blobs = append(pkg.Blobs, Blob{Digest: in.digest, Size: in.size, Path: in.path})
		}
	}
	return pkg
}
