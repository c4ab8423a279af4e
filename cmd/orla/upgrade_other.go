//go:build !unix

package main

import (
	"errors"
	"os"
)

func upgradeSignal() <-chan os.Signal { return nil }

func signalUpgrade(int) error {
	return errors.New("nodes cannot be upgraded in place on this system: stop it and start the new one")
}
