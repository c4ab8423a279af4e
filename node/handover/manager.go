package handover

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// The variables of sd_notify(3) and sd_watchdog_enabled(3).
const (
	envNotify      = "NOTIFY_SOCKET"
	envWatchdog    = "WATCHDOG_USEC"
	envWatchdogPID = "WATCHDOG_PID"
)

// What a [Manager] is told, sd_notify(3).
const (
	StateReady     = "READY=1"
	StateReloading = "RELOADING=1"
	StateStopping  = "STOPPING=1"
	stateAlive     = "WATCHDOG=1"
)

// StateMainPID says that another process is the service now.
func StateMainPID(pid int) string { return "MAINPID=" + strconv.Itoa(pid) }

// Manager is the service manager that watches this process, such as systemd. A
// nil one is nobody. Its methods may be called concurrently.
type Manager struct {
	socket   string
	watchdog time.Duration // 0: it wants no signs of life
}

// FindManager returns the service manager that the environment names, for the
// process of that number; nil if there is none.
func FindManager(getenv func(string) string, pid int) (*Manager, error) {
	m := &Manager{socket: getenv(envNotify)}
	if m.socket == "" {
		return nil, nil
	}
	micros := getenv(envWatchdog)
	if of := getenv(envWatchdogPID); micros == "" || of != "" && of != strconv.Itoa(pid) {
		return m, nil
	}
	n, err := strconv.ParseInt(micros, 10, 64)
	if err != nil || n <= 0 || n > int64(time.Hour/time.Microsecond)*24*365 {
		return nil, fmt.Errorf("%s=%q: want a number of microseconds", envWatchdog, micros)
	}
	m.watchdog = time.Duration(n) * time.Microsecond
	return m, nil
}

// Tell sends these states, all at once.
func (m *Manager) Tell(states ...string) error {
	if m == nil {
		return nil
	}
	// "@" in front stands for a name in the abstract namespace, for Dial too.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer c.Close() //nolint:errcheck // a datagram is gone once it is written
	if _, err := c.Write([]byte(strings.Join(states, "\n"))); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}

// Run gives the service manager the signs of life that it wants, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	if m == nil || m.watchdog == 0 {
		return nil
	}
	tick := time.NewTicker(m.watchdog / 3)
	defer tick.Stop()
	for {
		if err := m.Tell(stateAlive); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
