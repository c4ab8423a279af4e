//go:build unix

package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/orla-edge/orla/runtime/memory"
)

// functions looks at what instances of functions need of the machine.
func (c Config) functions(ctx context.Context) []Finding {
	var found []Finding
	if c.Compile != nil {
		found = append(found, c.compiler(ctx))
	}
	found = append(found, reset(memory.Best()))
	m := room{total: memory.Available(), memory: c.FunctionMemory, instances: c.FunctionInstances}
	m.overcommit = procNumber("/proc/sys/vm/overcommit_memory")
	m.maps = procNumber("/proc/sys/vm/max_map_count")
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_AS, &limit) == nil && limit.Cur < 1<<60 {
		m.space = limit.Cur
	}
	return append(found, m.finding())
}

// compileWait is how long compiling the smallest module may take.
const compileWait = 10 * time.Second

func (c Config) compiler(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeout(ctx, compileWait)
	defer cancel()
	if err := c.Compile(ctx); err != nil {
		return Finding{"compiler", Fail, err.Error(), "functions cannot be deployed; let the node start processes of its own program, with room in " + os.TempDir()}
	}
	return Finding{"compiler", OK, "compiles in a process of its own, within limits", ""}
}

// reset tells how the memory that a request has written to becomes clean.
func reset(by memory.Method) Finding {
	f := Finding{Check: "reset", Status: OK, Detail: "instances are made clean by " + string(by)}
	switch by {
	case memory.Scan:
	case memory.Read:
		f.Next = "it works; Linux 6.7 and later can be asked directly (PAGEMAP_SCAN), which is quicker"
	case memory.Discard:
		f.Status = Warn
		f.Detail += ": all pages of a memory are given up after each request"
		f.Next = "functions are slower so; mount /proc, and let the node read /proc/self/pagemap"
	default:
		f.Status = Warn
		f.Detail = "this system has no way to make an instance clean: every request starts one"
		f.Next = "functions are much slower so; run the node on Linux"
	}
	return f
}

// room is what the machine has for instances, and what they may take.
type room struct {
	total, memory int64  // bytes of the machine, and of the setting
	instances     int    // of the setting
	space         uint64 // bytes of address space; 0 if there is no limit
	// overcommit and maps are the kernel's vm.overcommit_memory and vm.max_map_count;
	// -1 if it has none.
	overcommit, maps int64
}

const (
	// mapsEach is how many mappings an instance is made of, mapsMore how many the node
	// has beside them.
	mapsEach, mapsMore = 2, 4096
	// strict is the mode of vm.overcommit_memory in which reserving takes memory.
	strict = 2
)

func (r room) finding() Finding {
	most := r.memory
	if most == 0 {
		most = r.total / 2
	}
	f := Finding{"instances", OK, fmt.Sprintf("at most %d, with %s of %s between them", r.instances, humanize.IBytes(uint64(most)), humanize.IBytes(uint64(r.total))), ""}
	maps := int64(r.instances)*mapsEach + mapsMore
	switch {
	case most > r.total:
		f.Status, f.Next = Warn, "that is more than there is; lower --function-memory"
	case r.overcommit == strict:
		f.Status, f.Next = Warn, "the kernel lets nobody reserve more than there is, and instances do; sudo sysctl -w vm.overcommit_memory=0"
	case r.space > 0:
		f.Status, f.Next = Warn, fmt.Sprintf("the address space is limited to %s, of which every instance reserves all that its function may have; ulimit -v unlimited, or LimitAS=infinity in systemd", humanize.IBytes(r.space))
	case r.maps >= 0 && r.maps < maps:
		f.Status, f.Next = Warn, fmt.Sprintf("the kernel lets a process have %d mappings, and so many instances need more; sudo sysctl -w vm.max_map_count=%d, or lower --function-instances", r.maps, maps)
	}
	return f
}

// procNumber returns the number in a file of /proc, or -1.
func procNumber(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
