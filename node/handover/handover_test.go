//go:build unix && !solaris && !aix

package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orla-edge/orla/internal/leaks"
)

// modeEnv makes the test binary a successor that behaves in a certain way.
const modeEnv = "ORLA_TEST_SUCCESSOR"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeEnv); mode != "" {
		if err := succeed(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	leaks.Main(m)
}

// succeed is the other process.
func succeed(mode string) error {
	in, err := Inherit()
	if err != nil {
		return err
	}
	defer in.Close()
	p := in.Predecessor()
	if p == nil || os.Getenv(envFDs)+os.Getenv(envNames)+os.Getenv(envPID)+os.Getenv(envHandover) != "" {
		return errors.New("no predecessor, or the environment still tells of it")
	}
	switch mode {
	case "silent":
		time.Sleep(time.Hour) // until it is killed
	case "early":
		return p.Serving("v2")
	case "babbling":
		_, _ = p.line.conn.Write([]byte(strings.Repeat("x", 2*maxLine)))
		return nil
	case "sorry":
		p.Failed(errors.New("the disk is full"))
		return nil
	}
	taken := append(in.Take("http", ":80"), in.Take("admin", "127.0.0.1:1")...)
	if len(taken) != 1 || in.Managed() {
		return fmt.Errorf("took %d sockets, managed %t", len(taken), in.Managed())
	}
	live, err := p.Live(context.Background())
	if err != nil || len(live) != maxLive || live[0] != "0" {
		return fmt.Errorf("serves %d things, %w", len(live), err)
	}
	notes, err := p.Directory(context.Background())
	if err != nil {
		return err
	}
	if mode == "dying" {
		return errors.New("dying")
	}
	if err := p.Serving("v2 " + strings.Join(notes, ",")); err != nil {
		return err
	}
	c, err := taken[0].Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, "from the successor\n")
	return errors.Join(err, c.Close())
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

// served is more than a successor is told, and than a socket's buffer holds.
func served() []string {
	var live []string
	for i := range maxLive + 1 {
		live = append(live, fmt.Sprintf("%-80d", i)[:80])
	}
	live[0] = "0"
	return live
}

// begin starts a successor in this mode, with three sockets, of which it is to take the first.
func begin(t *testing.T, mode string) (*Successor, *net.TCPListener) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(modeEnv, mode)
	ln := listen(t)
	s, err := Start(Command{Path: self}, []Socket{
		{Name: "http", Address: ":80", Listener: ln},
		{Name: "http", Address: ":81", Listener: listen(t)}, // of other settings
		{Name: "admin", Address: "127.0.0.1:2", Listener: listen(t)},
	}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s, ln
}

// A program that does nothing with the sockets does not change them.
func TestSocketsStayAsTheyAre(t *testing.T) {
	ln := listen(t)
	s, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", "sleep 1000"}}, []Socket{{Name: "http", Listener: ln}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if blocks(t, ln) {
		t.Error("the shared socket blocks whoever accepts")
	}
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
}

// blocks reports whether a call on the socket would hold a thread.
func blocks(t *testing.T, ln *net.TCPListener) (blocks bool) {
	t.Helper()
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			t.Error(err)
		}
		blocks = flags&unix.O_NONBLOCK == 0
	})
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

func TestSuccessorServes(t *testing.T) {
	s, ln := begin(t, "good")
	if err := s.Asked(t.Context(), served()); err != nil {
		t.Fatal(err)
	}
	if err := s.Grant([]string{"shop", "blog"}); err != nil {
		t.Fatal(err)
	}
	version, err := s.Served(t.Context())
	if err != nil || version != "v2 shop,blog" {
		t.Fatalf("Served = %q, %v", version, err)
	}
	addr := ln.Addr().String()
	ln.Close()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if text, err := bufio.NewReader(c).ReadString('\n'); text != "from the successor\n" {
		t.Errorf("%q, %v", text, err)
	}
	s.Release()
	<-s.exited
	if s.exit != nil {
		t.Errorf("the successor ended with %v", s.exit)
	}
}

func TestSuccessorFails(t *testing.T) {
	for mode, want := range map[string]string{
		"silent":   "impatient",
		"early":    `"serving" where "ask" is due`,
		"babbling": "does not speak as a node does",
		"sorry":    "the disk is full",
		"dying":    "it ended before it served: exit status 3",
	} {
		t.Run(mode, func(t *testing.T) {
			s, _ := begin(t, mode)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if mode == "silent" {
				cancel(errors.New("impatient"))
			}
			err := s.Asked(ctx, served())
			if mode == "dying" {
				if err := errors.Join(err, s.Grant(nil)); err != nil {
					t.Fatal(err)
				}
				_, err = s.Served(ctx)
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			if err := s.Kill(); err != nil {
				t.Error(err)
			}
			select {
			case <-s.exited:
			default:
				t.Error("Kill returned before the process was gone")
			}
		})
	}
	if _, err := Start(Command{Path: "/nonexistent"}, nil, false); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("Start of nothing = %v", err)
	}
}

func TestAnnounced(t *testing.T) {
	const pid, parent = 20, 10
	for _, tt := range []struct {
		name            string
		env             map[string]string
		count, handover int
		wrong           string
	}{
		{name: "nothing", env: nil},
		{name: "a service manager", env: map[string]string{envFDs: "2", envPID: "20"}, count: 2},
		{name: "for another process", env: map[string]string{envFDs: "2", envPID: "19"}},
		{name: "for nobody", env: map[string]string{envFDs: "2"}},
		{name: "a predecessor", env: map[string]string{envFDs: "2", envPID: "10", envHandover: "5"}, count: 2, handover: 5},
		{name: "a predecessor without sockets", env: map[string]string{envFDs: "0", envPID: "10", envHandover: "3"}, handover: 3},
		{name: "a grandparent", env: map[string]string{envFDs: "2", envPID: "9", envHandover: "5"}},
		{name: "no number", env: map[string]string{envFDs: "two", envPID: "20"}, wrong: envFDs},
		{name: "negative", env: map[string]string{envFDs: "-1", envPID: "20"}, wrong: envFDs},
		{name: "too many", env: map[string]string{envFDs: "65", envPID: "20"}, wrong: envFDs},
		{name: "standard error", env: map[string]string{envFDs: "2", envPID: "10", envHandover: "2"}, wrong: envHandover},
	} {
		count, handover, err := announced(func(name string) string { return tt.env[name] }, pid, parent)
		if (err != nil) != (tt.wrong != "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.wrong)
		}
		if err == nil && (count != tt.count || handover != tt.handover) {
			t.Errorf("%s: %d sockets, conversation %d; want %d, %d", tt.name, count, handover, tt.count, tt.handover)
		}
	}
}

// Which socket is for which listener.
func TestFits(t *testing.T) {
	ln := listen(t)
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	all, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	allPort := strconv.Itoa(all.Addr().(*net.TCPAddr).Port)
	for _, tt := range []struct {
		name    string
		of      socket
		managed bool
		flag    string
		address string
		want    bool
	}{
		{"a manager's by name", socket{name: "http", ln: ln}, true, "http", ":8080", true},
		{"a manager's of another name", socket{name: "https", ln: ln}, true, "http", ":8080", false},
		{"a manager's by address", socket{name: "orla.socket", ln: ln}, true, "http", "127.0.0.1:" + port, true},
		{"of another host", socket{name: "orla.socket", ln: ln}, true, "http", "127.0.0.2:" + port, false},
		{"of every host", socket{name: "orla.socket", ln: ln}, true, "http", ":" + port, false},
		{"of another port", socket{name: "orla.socket", ln: ln}, true, "http", "127.0.0.1:1", false},
		{"every host's for every host", socket{ln: all}, true, "http", ":" + allPort, true},
		{"every host's for one", socket{ln: all}, true, "http", "127.0.0.1:" + allPort, false},
		{"a predecessor's", socket{name: "http", address: ":8080", ln: ln}, false, "http", ":8080", true},
		{"a predecessor's, settings changed", socket{name: "http", address: ":8080", ln: ln}, false, "http", ":80", false},
		{"a predecessor's of another name", socket{name: "admin", address: "127.0.0.1:" + port, ln: ln}, false, "http", "127.0.0.1:" + port, false},
		{"a manager's from a predecessor", socket{name: "http", address: ":8080", ln: ln}, true, "http", ":80", true},
	} {
		if got := tt.of.fits(tt.flag, tt.address, tt.managed); got != tt.want {
			t.Errorf("%s: fits(%s %s) = %t, want %t", tt.name, tt.flag, tt.address, got, tt.want)
		}
	}
}

func TestUnclaimed(t *testing.T) {
	in := &Inherited{managed: true, sockets: []*socket{{name: "http", ln: listen(t)}, {name: "metrics", ln: listen(t)}}}
	if got := in.Take("http", ":8080"); len(got) != 1 {
		t.Fatalf("took %d sockets, want 1", len(got))
	}
	if err := in.Unclaimed(); err == nil || !strings.Contains(err.Error(), `"metrics"`) {
		t.Errorf("Unclaimed = %v, want the socket that is for nobody", err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	var none *Inherited
	if none.Take("http", ":80") != nil || none.Managed() || none.Predecessor() != nil || none.Unclaimed() != nil || none.Close() != nil {
		t.Error("nothing inherited is not nothing")
	}
}

// A manager is told all at once, and gets signs of life as often as it wants.
func TestManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "orla-notify-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/s", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	env := map[string]string{envNotify: dir + "/s", envWatchdog: "30000", envWatchdogPID: "7"}
	getenv := func(name string) string { return env[name] }
	m, err := FindManager(getenv, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Tell(StateMainPID(8), StateReady); err != nil {
		t.Error(err)
	}
	if got := read(); got != "MAINPID=8\nREADY=1" {
		t.Errorf("told %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for range 3 {
		if got := read(); got != "WATCHDOG=1" {
			t.Errorf("told %q", got)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	if other, err := FindManager(getenv, 8); err != nil || other.watchdog != 0 {
		t.Errorf("signs of life of another process are wanted: %v, %v", other, err)
	}
	env[envWatchdog] = "often"
	if _, err := FindManager(getenv, 7); err == nil {
		t.Error("a wrong number is taken")
	}
	clear(env)
	none, err := FindManager(getenv, 7)
	if none != nil || err != nil || none.Tell(StateReady) != nil || none.Run(t.Context()) != nil {
		t.Errorf("no manager: %v, %v", none, err)
	}
}

// FuzzConversation reads what another process may say.
func FuzzConversation(f *testing.F) {
	f.Add([]byte("{\"kind\":\"hello\",\"sockets\":[{\"name\":\"http\",\"address\":\":80\"}]}\n"))
	f.Add([]byte("{}\n{\"kind\":\"failed\",\"reason\":\"x\"}\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			_, _ = theirs.Write(b)
			theirs.Close()
		}()
		l := newLine(ours)
		for range 10 {
			if m, err := l.expect(t.Context(), kindAsk); err == nil && m.Kind != kindAsk {
				t.Fatalf("expected %q, got %+v", kindAsk, m)
			}
		}
	})
}
