package release

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	minMemory      = 64 << 10 // bytes: one page
	maxMemory      = 4 << 30  // bytes: what 32 bits address
	maxTimeout     = time.Hour
	maxConcurrency = 10_000
	maxEnv         = 64 << 10 // bytes of names and values of one function
	maxArgs        = 64 << 10 // bytes
)

func (v *validator) functions() {
	v.functionsByName = make(map[string]*orlav1.Function)
	for i, fn := range v.manifest.GetFunctions() {
		field := "functions." + fn.GetName()
		if !validName(fn.GetName()) {
			field = fmt.Sprintf("functions[%d]", i)
		}
		_, seen := v.functionsByName[fn.GetName()]
		if v.name(field, fn.GetName()) && seen {
			v.reject(field, "there are two functions of this name; rename one")
		}
		if !seen {
			v.functionNames = append(v.functionNames, fn.GetName())
			v.functionsByName[fn.GetName()] = fn
		}
		v.function(field, fn)
	}
}

func (v *validator) function(field string, fn *orlav1.Function) {
	v.blob(field+".module", fn.GetModule(), fn.GetModuleSize())
	v.source(field, fn.GetSource())
	_, known := orlav1.Abi_name[int32(fn.GetAbi())]
	switch {
	case !known:
		v.reject(field+".abi", "%d is no ABI that this version knows; update the node if a newer one does", fn.GetAbi())
	case fn.GetAbi() != orlav1.Abi_ABI_UNSPECIFIED && !v.stored:
		v.reject(field+".abi", "a client must not say which ABI a module has; the node reads it from the module, leave it out")
	}
	if b := fn.GetMemoryBytes(); b != 0 && (b < minMemory || b > maxMemory) {
		v.reject(field+".memory", "%d bytes of memory cannot be had; write 64KiB to 4GiB, or leave it out for the node's default", b)
	}
	v.timeout(field+".timeout", fn.GetTimeout())
	v.timeout(field+".cpu", fn.GetCpu())
	v.isolation(field+".isolation", fn.GetIsolation())
	v.limits(field+".limits", fn.GetLimits())
	if fn.GetConcurrency() > maxConcurrency {
		v.reject(field+".concurrency", "%d requests at one time are too many; write 1 to %d, or leave it out for the node's default", fn.GetConcurrency(), maxConcurrency)
	}
	v.environment(field, fn)
	v.grants(field, fn)
	v.files(field+".files", fn.GetFiles(), false)
}

func (v *validator) timeout(field string, d *durationpb.Duration) {
	if d == nil {
		return
	}
	if err := d.CheckValid(); err != nil || d.AsDuration() <= 0 || d.AsDuration() > maxTimeout {
		v.reject(field, "%s has to be more than 0 and at most 1h; leave it out for the node's default", field[strings.LastIndexByte(field, '.')+1:])
	}
}

func (v *validator) environment(field string, fn *orlav1.Function) {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(fn.GetEnv())) {
		value := fn.GetEnv()[name]
		size += len(name) + len(value)
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00") || !printable(name):
			v.reject(field+".env", "%s cannot be the name of a variable; use letters, digits and _", quote(name))
		case strings.Contains(value, "\x00") || !utf8.ValidString(value):
			v.reject(field+".env", "the value of %s has a NUL character or is not UTF-8; encode it, as with base64", quote(name))
		}
	}
	if size > maxEnv {
		v.reject(field+".env", "the environment has %d bytes, the most is %d; put what is large into a file", size, maxEnv)
	}
	size = 0
	for i, arg := range fn.GetArgs() {
		size += len(arg) + 1
		if strings.Contains(arg, "\x00") || !utf8.ValidString(arg) {
			v.reject(fmt.Sprintf("%s.args[%d]", field, i), "the argument has a NUL character or is not UTF-8; encode it, as with base64")
		}
	}
	if size > maxArgs {
		v.reject(field+".args", "the arguments have %d bytes, the most is %d; put what is large into a file", size, maxArgs)
	}
}
