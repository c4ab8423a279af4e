package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	// maxCode is how many bytes of machine code a module may become.
	maxCode = 1 << 30
	// maxWords is how much of what a child says is kept, in bytes.
	maxWords = 8 << 10
	// reapWait bounds the wait for a killed child's pipes.
	reapWait = 5 * time.Second
)

func bytesText(n int64) string { return humanize.IBytes(uint64(n)) }

// running is, on Linux, the file that the process began as, also after an upgrade has
// put another one in its place.
const running = "/proc/self/exe"

// Self returns the path of the running program, as the first word of a
// [Config.Command]: what a node compiles with should be what it runs.
func Self() (string, error) {
	if goruntime.GOOS == "linux" {
		if _, err := os.Stat(running); err == nil {
			return running, nil
		}
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the running program, to compile with it: %w", err)
	}
	return path, nil
}

// Try has command's child compile the smallest module there is, in a folder that is
// gone afterwards: the error tells why a node could not compile with it.
func Try(ctx context.Context, command []string) (err error) {
	dir, err := os.MkdirTemp("", "orla-compile-")
	if err != nil {
		return fmt.Errorf("make a folder to compile into: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := New(Config{Dir: dir, Command: command})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.cache.Close(ctx)) }()
	return c.Compile(ctx, "", []byte(emptyModule))
}

// spawn runs a child that compiles module into stage.
func (c *Compiler) spawn(ctx context.Context, stage string, module []byte) error {
	late := &LimitError{What: "time", Limit: c.cfg.Timeout.String()}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, late)
	defer cancel()

	seconds := int64(math.Ceil(c.cfg.CPU.Seconds()))
	args := append(c.cfg.Command[1:len(c.cfg.Command):len(c.cfg.Command)],
		"--stage", stage, "--engine", c.store.engine, "--size", strconv.Itoa(len(module)),
		"--memory", strconv.FormatInt(c.cfg.Memory, 10), "--cpu", strconv.FormatInt(seconds, 10))
	cmd := exec.CommandContext(ctx, c.cfg.Command[0], args...)
	if cmd.Path == running {
		cmd.Args[0] = os.Args[0] // the name that a person knows
	}
	cmd.Dir = stage
	// The process that compiles what strangers wrote gets nothing that it could tell.
	cmd.Env = []string{"GOMAXPROCS=2", "GOTRACEBACK=none"}
	cmd.Stdin = bytes.NewReader(module)
	words := &head{max: maxWords}
	cmd.Stderr = words
	cmd.WaitDelay = reapWait
	alone(cmd)

	err := runLocked(cmd)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if errors.As(err, new(*exec.ExitError)) {
		return c.verdict(cmd, seconds, words.String())
	}
	if err != nil && cmd.ProcessState == nil {
		return fmt.Errorf("start compiler %q: %w; if the program was replaced, restart the node", c.cfg.Command[0], err)
	}
	// The child has all it needs once it ends well, whatever became of its pipes.
	if err != nil && !cmd.ProcessState.Success() {
		return fmt.Errorf("run compiler %q: %w", c.cfg.Command[0], err)
	}
	return nil
}

// runLocked keeps to one thread: the child dies with the thread that started it.
func runLocked(cmd *exec.Cmd) error {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	return cmd.Run()
}

// verdict turns the end of a child that failed into an error.
func (c *Compiler) verdict(cmd *exec.Cmd, seconds int64, words string) error {
	state := cmd.ProcessState
	limit := time.Duration(seconds) * time.Second
	// What the kernel reports and what it limits are not measured alike.
	exhausted := state.UserTime()+state.SystemTime() >= limit*3/4
	words = strings.TrimSpace(words)
	switch code := state.ExitCode(); {
	case code == exitInvalid:
		return &invalidError{words}
	case code == exitMemory, code > 0 && ranOut(words):
		return &LimitError{What: "memory", Limit: bytesText(c.cfg.Memory)}
	case code == exitCPU, code < 0 && exhausted:
		return &LimitError{What: "cpu", Limit: limit.String()}
	case code == exitSize:
		return &LimitError{What: "size", Limit: bytesText(maxCode)}
	case code == exitForeign:
		return errForeign
	case code < 0:
		return fmt.Errorf("compiler was ended from outside (%s); if the system was out of memory, give it more or compile less at a time", state)
	}
	return fmt.Errorf("compiler failed (%s): %s", state, words)
}

// ranOut reports whether these are a Go program's last words when it gets no memory.
func ranOut(words string) bool {
	for _, w := range []string{"out of memory", "cannot allocate memory", "failed to allocate", "failed to create new OS thread", "pthread_create failed", "address space collisions"} {
		if strings.Contains(words, w) {
			return true
		}
	}
	return false
}

// head is a writer that keeps the first max bytes, and takes the rest too.
type head struct {
	max int
	bytes.Buffer
}

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), h.max-h.Len())])
	return len(p), nil
}
