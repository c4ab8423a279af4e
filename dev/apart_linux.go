package dev

import (
	"os/exec"
	"syscall"
)

// apart keeps a terminal's Ctrl-C from a node: dev stops it. If dev is killed, so is the
// node.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
