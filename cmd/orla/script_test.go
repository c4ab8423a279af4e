package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/testscript"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"orla": main})
}

// TestScripts runs the command line as a person would: testdata/script tells
// what is typed and what has to come of it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ready": ready, "get": get, "await": await, "printed": waitForText, "terminate": terminate, "replace": replace, "module": writeModule, "certificate": writeCertificate,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("ORLA_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command takes a second to end
			return nil
		},
	})
}

// exits CODE COMMAND... runs a command that has to end with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s exits with %d (%v), want %s", strings.Join(args[1:], " "), code, err, args[0])
	}
}

// patience bounds every wait for something that has to come.
const patience = 60 * time.Second

// poll calls f until it says that it is done.
func poll(ts *testscript.TestScript, what string, f func(context.Context) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f(ctx) {
		select {
		case <-ctx.Done():
			ts.Fatalf("%s: nothing after %s", what, patience)
		case <-tick.C:
		}
	}
}

// ready waits until the node whose data directory is $ORLA_DATA serves, and sets
// $ADMIN, $ADMIN_ADDR, $HTTP and $HTTPS.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	data := ts.Getenv("ORLA_DATA")
	poll(ts, "node", func(ctx context.Context) bool {
		addr, err := os.ReadFile(filepath.Join(data, "admin.addr"))
		if err != nil {
			return false
		}
		admin := strings.TrimSpace(string(addr))
		if status, _, _ := fetch(ctx, admin+"/readyz"); status != http.StatusOK {
			return false
		}
		token, err := os.ReadFile(filepath.Join(data, "admin.token"))
		ts.Check(err)
		req := connect.NewRequest(&orlav1.GetNodeRequest{})
		req.Header().Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		res, err := orlav1connect.NewControlServiceClient(http.DefaultClient, admin).GetNode(ctx, req)
		ts.Check(err)
		ts.Setenv("ADMIN", admin)
		ts.Setenv("ADMIN_ADDR", strings.TrimPrefix(admin, "http://"))
		for _, u := range res.Msg.GetUrls() {
			scheme, _, _ := strings.Cut(u, ":")
			ts.Setenv(strings.ToUpper(scheme), u)
		}
		return true
	})
}

func fetch(ctx context.Context, url string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(b), err
}

// get STATUS URL fetches and prints the body.
func get(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, body, err := fetch(ctx, args[1])
	ts.Check(err)
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("GET %s = %d %q, want %s", args[1], status, body, args[0])
	}
	fmt.Fprint(ts.Stdout(), body)
}

// await FILE TEXT URL fetches until a file that another command writes has the
// text.
func await(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, args[0], func(ctx context.Context) bool {
		_, _, err := fetch(ctx, args[2])
		ts.Check(err)
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(b), args[1])
	})
}

// waitForText FILE TEXT waits until a file that another command writes has the text.
func waitForText(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, args[0], func(context.Context) bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(b), args[1])
	})
}

// terminate sends SIGTERM to the commands in the background.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	}
}

// replace OLD NEW FILE changes a file.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[2])
	if !strings.Contains(text, args[0]) {
		ts.Fatalf("%s has no %q", args[2], args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ReplaceAll(text, args[0], args[1])), 0o600))
}
