//go:build linux

package process

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Options tells how a process is run. The zero value has the machine's clock.
type Options struct {
	// Ahead is how far the clock is ahead, in whole seconds.
	Ahead time.Duration
	// Program is the file that the process is to become, if it is not the command's own:
	// with a clock of its own, what "ip netns exec" runs.
	Program string
}

// Process is a program that runs, or has run. Its methods may be called concurrently.
type Process struct {
	cmd    *exec.Cmd
	log    buffer
	exited chan struct{}
	err    error // valid after exited
}

// Start starts cmd, whose output and system's attributes are Start's to set. The process
// is killed when this one ends.
func Start(cmd *exec.Cmd, o Options) (*Process, error) {
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Ptrace: o.Ahead != 0}
	if o.Program == "" {
		o.Program = cmd.Path
	}
	started := make(chan error, 1)
	go p.run(o, started)
	if err := <-started; err != nil {
		<-p.exited
		return nil, err
	}
	return p, nil
}

// run starts the process and waits for it on one thread: the process dies with the
// thread that started it, and only that thread may trace it.
func (p *Process) run(o Options, started chan error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.exited)
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	var err error
	if o.Ahead != 0 {
		if err = setClock(p.cmd.Process.Pid, o.Program, o.Ahead); err != nil {
			_ = p.cmd.Process.Kill() // the error says it
		}
	}
	started <- err
	p.err = p.cmd.Wait()
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is what the process has printed, up to 8 MiB.
func (p *Process) Log() string { return p.log.String() }

// Signal sends a signal, which fails if the process is gone.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process at once, by SIGKILL, if it is still there, and returns when it
// is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // gone already
	<-p.exited
}

// Exited is closed when the process is gone.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err is what the process ended with. It is valid after Exited.
func (p *Process) Err() error { return p.err }

// maxLog is how much of what is printed is kept, in bytes.
const maxLog = 8 << 20

// buffer keeps what a process prints.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.b.Len() < maxLog {
		b.b.Write(p)
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
