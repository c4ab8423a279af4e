//go:build linux

package pebble

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/ports"
	"github.com/orla-edge/orla/internal/process"
)

// patience bounds each wait for something that has to come.
const patience = 60 * time.Second

// programs are the files to run.
type programs struct{ pebble, challenges string }

// build builds what the module in server asks for, if it is not there yet. Tests that
// run at the same time wait for each other.
func build(t testing.TB) programs {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		t.Fatal("pebble: the sources are not where they were built: build the test without -trimpath")
	}
	source := filepath.Join(filepath.Dir(file), "server")
	target := filepath.Join(filepath.Dir(file), "..", "..", ".cache", "pebble")
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(target, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() //nolint:errcheck // nothing is written
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-C", source, "-trimpath", "-o", target+string(filepath.Separator), "tool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build Pebble: %v\n%s", err, out)
	}
	return programs{
		pebble:     filepath.Join(target, "pebble"),
		challenges: filepath.Join(target, "pebble-challtestsrv"),
	}
}

// startPebble starts Pebble, on ports of its own if fresh, else on those that it had.
func (s *Server) startPebble(fresh bool) {
	s.t.Helper()
	for attempt := 1; ; attempt++ {
		if fresh {
			s.api, s.manage = ports.Address(s.t), ports.Address(s.t)
		}
		cmd := exec.Command(s.program, "-config", s.configure(), "-dnsserver", s.dns.addr) //nolint:noctx // ends with the test
		cmd.Env = append(os.Environ(),
			"PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0", "PEBBLE_WFE_NONCEREJECT="+strconv.Itoa(s.o.RejectNonces))
		var err error
		if s.pebble, err = process.Start(cmd, process.Options{Ahead: s.o.Ahead}); err != nil {
			s.t.Fatalf("start Pebble: %v", err)
		}
		if err = s.awaitRoots(); err == nil {
			return
		}
		s.pebble.Kill()
		if attempt == 3 { // somebody may have taken a port meanwhile
			s.t.Fatalf("start Pebble: %v\n%s", err, s.Log())
		}
	}
}

// configure writes Pebble's configuration and returns the file.
func (s *Server) configure() string {
	s.t.Helper()
	validity := s.o.Validity
	if validity == 0 {
		validity = 90 * 24 * time.Hour
	}
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":                  s.api,
		"managementListenAddress":        s.manage,
		"certificate":                    s.identityFile(certFile),
		"privateKey":                     s.identityFile(keyFile),
		"httpPort":                       s.o.HTTPPort,
		"tlsPort":                        s.o.TLSPort,
		"externalAccountBindingRequired": len(s.o.AccountKeys) > 0,
		"externalAccountMACKeys":         s.o.AccountKeys,
		"domainBlocklist":                s.o.Blocked,
		"keyAlgorithm":                   "ecdsa",
		"profiles": map[string]any{"default": map[string]any{
			"description": "for tests", "validityPeriod": int64(validity / time.Second),
		}},
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(s.dir, "pebble.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// awaitRoots waits until Pebble serves, and trusts what it issues.
func (s *Server) awaitRoots() error {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, // our own process
	}}
	return await(s.t.Context(), s.pebble, func(ctx context.Context) error {
		if _, err := fetch(ctx, client, "https://"+s.api+"/dir"); err != nil {
			return err
		}
		root, err := fetch(ctx, client, "https://"+s.manage+"/roots/0")
		if err == nil && !s.roots.AppendCertsFromPEM(root) {
			err = fmt.Errorf("no certificate: %q", root)
		}
		return err
	})
}

// await tries until it works or the process is gone.
func await(ctx context.Context, p *process.Process, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.Exited():
			return fmt.Errorf("it has ended: %w", errors.Join(p.Err(), err))
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", patience, err)
		case <-tick.C:
		}
	}
}

// fetch gets what is at url: some KiB at most.
func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "orla-test") // RFC 8555 §6.1
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, res.Status, body)
	}
	return body, err
}
