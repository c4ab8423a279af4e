//go:build linux && amd64

package process

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A static binary asks for the time in the page that the kernel maps into every process
// (vdso(7)), where no library can come between, and a time namespace moves the monotonic
// clocks only (time_namespaces(7)). But a debugger may write into that page, into the
// process's own copy of it: setClock replaces clock_gettime there, once, before the
// program's first instruction. Programs that the process runs in its turn have the
// machine's clock.

// auxVDSO is the entry of a process's auxiliary vector that says where the page is.
const auxVDSO = 33

// stub is clock_gettime(clock, *timespec) by a system call; for the clock 0, the time of
// day, it adds the seconds at stub[stubSeconds:].
//
//	b8 e4 00 00 00        mov   $228, %eax
//	0f 05                 syscall
//	85 ff                 test  %edi, %edi
//	75 0d                 jnz   done
//	48 b9 (8 bytes)       mov   $seconds, %rcx
//	48 01 0e              add   %rcx, (%rsi)
//	c3             done:  ret
const (
	stubHead    = "\xb8\xe4\x00\x00\x00\x0f\x05\x85\xff\x75\x0d\x48\xb9"
	stubTail    = "\x48\x01\x0e\xc3"
	stubSeconds = len(stubHead)
)

// setClock sets the clock of a process that has been started with Ptrace ahead, and
// lets it run. binary is the program that the process is to become. It is called by the
// thread that started the process.
func setClock(pid int, program string, ahead time.Duration) error {
	if err := awaitExec(pid, program); err != nil {
		return fmt.Errorf("trace process: %w", err)
	}
	addr, err := clockGettime(pid)
	if err != nil {
		return fmt.Errorf("find the clock of process %d: %w", pid, err)
	}
	code := binary.LittleEndian.AppendUint64([]byte(stubHead), uint64(int64(ahead/time.Second)))
	code = append(code, stubTail...)
	if _, err := syscall.PtracePokeText(pid, uintptr(addr), code); err != nil {
		return fmt.Errorf("set the clock of process %d: %w", pid, err)
	}
	if err := syscall.PtraceDetach(pid); err != nil {
		return fmt.Errorf("let process %d run: %w", pid, err)
	}
	return nil
}

// awaitExec goes on until the process has become the program: ip netns exec is another
// one before.
func awaitExec(pid int, program string) error {
	program, err := filepath.EvalSymlinks(program)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			return err
		}
		if !status.Stopped() {
			return errors.New("it has ended")
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == program {
			return nil
		}
		signal := 0
		if s := status.StopSignal(); s != syscall.SIGTRAP {
			signal = int(s)
		}
		if first {
			if err := syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACEEXEC); err != nil {
				return err
			}
		}
		if err := syscall.PtraceCont(pid, signal); err != nil {
			return err
		}
	}
}

// clockGettime returns the address of clock_gettime in a process.
func clockGettime(pid int) (uint64, error) {
	aux, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		return 0, err
	}
	var base uint64
	for ; len(aux) >= 16; aux = aux[16:] {
		if binary.LittleEndian.Uint64(aux) == auxVDSO {
			base = binary.LittleEndian.Uint64(aux[8:])
		}
	}
	if base == 0 {
		return 0, errors.New("it has no vDSO")
	}
	const most = 8 << 10
	image := make([]byte, most)
	n, err := syscall.PtracePeekData(pid, uintptr(base), image)
	if n == 0 {
		return 0, err
	}
	file, err := elf.NewFile(bytes.NewReader(image[:n]))
	if err != nil {
		return 0, fmt.Errorf("read the vDSO: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("read the vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return base + s.Value, nil
		}
	}
	return 0, errors.New("the vDSO has no clock_gettime")
}
