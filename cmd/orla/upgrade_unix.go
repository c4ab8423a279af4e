//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// upgradeSignal returns where the signals for an upgrade arrive.
func upgradeSignal() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR2)
	return c
}

func signalUpgrade(pid int) error { return syscall.Kill(pid, syscall.SIGUSR2) }
