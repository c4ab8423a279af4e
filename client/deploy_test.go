package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// node is the few calls that a deploy makes, on a real store.
type node struct {
	orlav1connect.UnimplementedControlServiceHandler
	store *modules.Dir
	// cutAfter closes the connection under an upload after so many blobs; each
	// such upload takes one entry.
	cutAfter chan int
	problems []*orlav1.Problem
	silent   bool // ends a deploy without a last word

	mu       sync.Mutex // guards what follows
	uploads  int
	received []string
	largest  int
	request  *orlav1.DeployRequest
}

func (n *node) FindMissingBlobs(_ context.Context, req *connect.Request[orlav1.FindMissingBlobsRequest]) (*connect.Response[orlav1.FindMissingBlobsResponse], error) {
	res := &orlav1.FindMissingBlobsResponse{}
	for _, text := range req.Msg.GetDigests() {
		d, err := modules.ParseDigest(text)
		if err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		if !n.store.Has(d) {
			res.Missing = append(res.Missing, text)
		}
	}
	return connect.NewResponse(res), nil
}

func (n *node) UploadBlobs(_ context.Context, stream *connect.ClientStream[orlav1.UploadBlobsRequest]) (*connect.Response[orlav1.UploadBlobsResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uploads++
	cut := -1
	select {
	case cut = <-n.cutAfter:
	default:
	}
	res := &orlav1.UploadBlobsResponse{}
	var w *modules.Writer
	var digest modules.Digest
	for stream.Receive() {
		msg := stream.Msg()
		n.largest = max(n.largest, len(msg.GetData()))
		var err error
		if msg.GetDigest() != "" {
			if digest, err = modules.ParseDigest(msg.GetDigest()); err == nil {
				w, err = n.store.Create()
			}
			if err != nil {
				return nil, connect.NewError(connect.CodeInvalidArgument, err)
			}
			defer w.Abort()
		}
		if _, err := w.Write(msg.GetData()); err != nil {
			return nil, connect.NewError(connect.CodeInternal, err)
		}
		if !msg.GetLast() {
			continue
		}
		size, err := w.Commit(digest)
		if err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		n.received = append(n.received, digest.String())
		res.Blobs, res.Bytes = res.Blobs+1, res.Bytes+uint64(size)
		if int(res.Blobs) == cut {
			panic(http.ErrAbortHandler)
		}
	}
	return connect.NewResponse(res), stream.Err()
}

func (n *node) Deploy(_ context.Context, req *connect.Request[orlav1.DeployRequest], stream *connect.ServerStream[orlav1.DeployResponse]) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.request = req.Msg
	if len(n.problems) > 0 {
		err := connect.NewError(connect.CodeInvalidArgument, errors.New("the release is not valid"))
		detail, detailErr := connect.NewErrorDetail(&orlav1.Problems{Problems: n.problems})
		if detailErr != nil {
			return detailErr
		}
		err.AddDetail(detail)
		return err
	}
	if err := stream.Send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Progress{Progress: &orlav1.Progress{Step: "validate", Done: 1, Total: 1}}}); err != nil {
		return err
	}
	switch {
	case n.silent:
		return nil
	case req.Msg.GetDryRun():
		return stream.Send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Checked{Checked: &orlav1.Checked{Digest: "d"}}})
	}
	return stream.Send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Live{Live: &orlav1.Live{Name: req.Msg.GetManifest().GetName(), Release: 1}}})
}

func newNode(t testing.TB) *node {
	t.Helper()
	store, err := modules.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &node{store: store, cutAfter: make(chan int, 8)}
}

// serve runs the node's API and returns a client for it. h2c is HTTP/2 without
// TLS, offered beside HTTP/1.1 as the node does.
func (n *node) serve(t testing.TB, tls bool) *client.Client {
	t.Helper()
	mux := http.NewServeMux()
	path, handler := orlav1connect.NewControlServiceHandler(n)
	mux.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		errs := connect.NewErrorWriter()
		switch r.Header.Get("Authorization") {
		case "Bearer " + secret:
			handler.ServeHTTP(w, r)
		case "Bearer viewer":
			_ = errs.Write(w, r, connect.NewError(connect.CodePermissionDenied, errors.New("deploying needs the role deployer, this token is a viewer")))
		default:
			_ = errs.Write(w, r, connect.NewError(connect.CodeUnauthenticated, errors.New("unknown token")))
		}
	}))
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that a test wants to fail
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return find(t, s.URL, secret)
}

func find(t testing.TB, admin, token string) *client.Client {
	t.Helper()
	c, err := client.Find(client.Options{Admin: admin, Token: token, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// shop writes an app whose site has the given files and packs it.
func shop(t testing.TB, files map[string]string) (dir string, pkg *app.Package) {
	t.Helper()
	dir = t.TempDir()
	files["../orla.toml"] = "name = \"shop\"\n\n[site]\n\n[[routes]]\nmatch = { path = \"/a\" }\nredirect = { to = \"/b\" }\n"
	for name, content := range files {
		path := filepath.Join(dir, "public", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pkg, err := app.Pack(t.Context(), app.Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	return dir, pkg
}

func TestDeploy(t *testing.T) {
	n := newNode(t)
	c := n.serve(t, false)
	const pieces = 256 << 10
	files := map[string]string{
		"index.html": "<!doctype html>", "empty": "", "one": "x",
		"exact":  strings.Repeat("e", 2*pieces),
		"larger": strings.Repeat("l", 2*pieces+1),
	}
	_, pkg := shop(t, files)
	var events []client.Event
	expect := uint64(7)
	res, err := c.Deploy(t.Context(), pkg, client.DeployOptions{Message: "first", ExpectLive: &expect}, func(e client.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	if res.GetLive().GetName() != "shop" || res.GetLive().GetRelease() != 1 {
		t.Errorf("Deploy = %v", res)
	}
	if n.request.GetMessage() != "first" || n.request.GetExpectLive() != 7 || n.request.GetDryRun() || !proto.Equal(n.request.GetManifest(), pkg.Manifest) {
		t.Errorf("the node was asked for %v", n.request)
	}
	if len(n.received) != 5 || n.largest != pieces {
		t.Errorf("%d blobs in pieces of up to %d bytes, want 5 and %d", len(n.received), n.largest, pieces)
	}
	for _, b := range pkg.Blobs {
		if err := n.store.Verify(b.Digest); err != nil {
			t.Errorf("%s: %v", b.Path, err)
		}
	}
	first, upload := events[0], events[len(events)-2]
	size := uint64(pkg.Size())
	if first.Step != "upload" || first.Done != 0 || first.Total != 5 || first.TotalBytes != size {
		t.Errorf("first event %+v", first)
	}
	if upload.Done != 5 || upload.Bytes != size || upload.TotalBytes != size {
		t.Errorf("last event of the upload %+v, want 5 files and %d bytes", upload, size)
	}
	if last := events[len(events)-1]; last.Step != "validate" || last.Done != 1 {
		t.Errorf("last event %+v", last)
	}

	t.Run("again, one file changed, dry run", func(t *testing.T) {
		files["one"] = "y"
		_, pkg := shop(t, files)
		n.received = nil
		res, err := c.Deploy(t.Context(), pkg, client.DeployOptions{DryRun: true}, nil)
		if err != nil || res.GetChecked().GetDigest() != "d" {
			t.Errorf("Deploy = %v, %v", res, err)
		}
		if want := []string{modules.Sum([]byte("y")).String()}; !slices.Equal(n.received, want) {
			t.Errorf("uploaded %v, want the changed file alone", n.received)
		}
	})
	t.Run("again, unchanged", func(t *testing.T) {
		_, pkg := shop(t, files)
		uploads := n.uploads
		if _, err := c.Deploy(t.Context(), pkg, client.DeployOptions{}, nil); err != nil || n.uploads != uploads {
			t.Errorf("Deploy = %v after %d more uploads", err, n.uploads-uploads)
		}
	})
}

func TestDeployRouteSet(t *testing.T) {
	n := newNode(t)
	path := write(t, filepath.Join(t.TempDir(), "routes.toml"), "name = 'edge'\n[[routes]]\nmatch = { path = '/a' }\nredirect = { to = '/b' }\n", 0o644)
	pkg, err := app.Routes(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.serve(t, false).Deploy(t.Context(), pkg, client.DeployOptions{}, nil); err != nil || n.uploads != 0 {
		t.Errorf("Deploy = %v with %d uploads", err, n.uploads)
	}
}

func TestDeployResumesOnce(t *testing.T) {
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprint(i)] = strings.Repeat(fmt.Sprint(i), 5000)
	}
	t.Run("after one broken connection", func(t *testing.T) {
		n := newNode(t)
		n.cutAfter <- 5
		_, pkg := shop(t, files)
		if _, err := n.serve(t, false).Deploy(t.Context(), pkg, client.DeployOptions{}, nil); err != nil {
			t.Fatal(err)
		}
		sent := slices.Clone(n.received)
		slices.Sort(sent)
		if n.uploads != 2 || len(slices.Compact(sent)) != 20 || len(n.received) != 20 {
			t.Errorf("%d uploads took %d blobs, want 2 and each of 20 once", n.uploads, len(n.received))
		}
	})
	t.Run("not after two", func(t *testing.T) {
		n := newNode(t)
		n.cutAfter <- 5
		n.cutAfter <- 5
		_, pkg := shop(t, files)
		_, err := n.serve(t, false).Deploy(t.Context(), pkg, client.DeployOptions{}, nil)
		e, ok := errors.AsType[*client.Error](err)
		if !ok || !e.Broken || n.uploads != 2 || !strings.Contains(err.Error(), "broke") {
			t.Errorf("Deploy = %v after %d uploads", err, n.uploads)
		}
	})
}

func TestDeployTellsProblemsInFiles(t *testing.T) {
	n := newNode(t)
	n.problems = []*orlav1.Problem{
		{Field: "site.files[/index.html]", Message: "is odd"},
		{Field: "routes[0].redirect.to", Message: "leads in a circle"},
		{Field: "hosts[0]", Message: "is taken"},
	}
	dir, pkg := shop(t, map[string]string{"index.html": "x"})
	_, err := n.serve(t, false).Deploy(t.Context(), pkg, client.DeployOptions{}, nil)
	want := strings.Join([]string{
		filepath.Join(dir, "public/index.html") + ": is odd",
		filepath.Join(dir, "orla.toml") + ": is taken",
		filepath.Join(dir, "orla.toml") + ":7: leads in a circle",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("Deploy says\n%v\nwant\n%s", err, want)
	}
	if problems, ok := errors.AsType[app.Problems](err); !ok || len(problems) != 3 {
		t.Errorf("the error has no problems: %#v", err)
	}
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("code %v", connect.CodeOf(err))
	}
}

func TestDeployTellsChangedFile(t *testing.T) {
	for _, test := range []struct {
		name, content, want string
	}{
		{"changed", "other", "changed while it was being deployed; deploy again"},
		{"grown to a piece", strings.Repeat("x", 256<<10+1), "changed while it was being deployed; deploy again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t)
			dir, pkg := shop(t, map[string]string{"a": strings.Repeat("x", 256<<10), "b": "12345"})
			for _, name := range []string{"a", "b"} {
				write(t, filepath.Join(dir, "public", name), test.content, 0o644)
			}
			_, err := n.serve(t, false).Deploy(t.Context(), pkg, client.DeployOptions{}, nil)
			if !errors.Is(err, app.ErrChanged) || !strings.Contains(err.Error(), filepath.Join(dir, "public/a")+" "+test.want) {
				t.Errorf("Deploy = %v", err)
			}
			if len(n.received) != 0 || n.request != nil {
				t.Errorf("the node has %d blobs and the request %v", len(n.received), n.request)
			}
		})
	}
}

func TestDeployWithoutLastWord(t *testing.T) {
	n := newNode(t)
	n.silent = true
	_, pkg := shop(t, map[string]string{"a": "a"})
	_, err := n.serve(t, false).Deploy(t.Context(), pkg, client.DeployOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "without a result; `orla releases shop` shows what is live") {
		t.Errorf("Deploy = %v", err)
	}
}

func TestDeployEndsWithContext(t *testing.T) {
	n := newNode(t)
	c := n.serve(t, false)
	_, pkg := shop(t, map[string]string{"a": strings.Repeat("a", 1<<20)})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Deploy(ctx, pkg, client.DeployOptions{}, func(client.Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Deploy = %v, want canceled", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	var listener net.ListenConfig
	closed, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	n := newNode(t)
	good := n.serve(t, false).Admin()
	tls := n.serve(t, true).Admin()
	var redirected atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		redirected.Store(true)
	}))
	t.Cleanup(other.Close)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/moved/"):
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case strings.HasPrefix(r.URL.Path, "/html/"):
			fmt.Fprint(w, "<!doctype html>")
		case strings.HasPrefix(r.URL.Path, "/cut/"):
			panic(http.ErrAbortHandler)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(pages.Close)

	_, pkg := shop(t, map[string]string{"a": "a"})
	for _, test := range []struct {
		name, admin, token, want string
	}{
		{"nobody listens", "http://" + closed.Addr().String(), secret, "no node answers at http://" + closed.Addr().String() + ", named by --admin (connect: connection refused)"},
		{"wrong token", good, "wrong-" + secret, good + " does not accept the token from --token: unknown token"},
		{"lesser role", good, "viewer", "the token from --token may not do this: deploying needs the role deployer, this token is a viewer"},
		{"other server", pages.URL, secret, "answers but is no admin API of Orla: check the address"},
		{"other page", pages.URL + "/html", secret, "answers but is no admin API of Orla: check the address"},
		{"moved", pages.URL + "/moved", secret, "answers but is no admin API of Orla: check the address"},
		{"broken", pages.URL + "/cut", secret, "the connection to " + pages.URL + "/cut broke: "},
		{"certificate", tls, secret, "the certificate of " + tls + " is not trusted: "},
		{"plain HTTP", strings.Replace(good, "http:", "https:", 1), secret, "speaks plain HTTP: name it with http://"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := find(t, test.admin, test.token)
			_, unaryErr := c.Control().GetNode(t.Context(), connect.NewRequest(&orlav1.GetNodeRequest{}))
			_, deployErr := c.Deploy(t.Context(), pkg, client.DeployOptions{}, nil)
			stream, streamErr := c.Control().TailLogs(t.Context(), connect.NewRequest(&orlav1.TailLogsRequest{}))
			if streamErr == nil {
				for stream.Receive() {
				}
				streamErr = stream.Err()
				stream.Close()
			}
			for call, err := range map[string]error{"GetNode": unaryErr, "Deploy": deployErr, "TailLogs": streamErr} {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s says %v, want %s", call, err, test.want)
				} else if strings.Contains(err.Error(), secret) {
					t.Errorf("%s tells the secret: %v", call, err)
				}
			}
		})
	}
	if redirected.Load() {
		t.Error("a redirect was followed, with the token")
	}
	t.Run("call that the node lacks", func(t *testing.T) {
		_, err := find(t, good, secret).Control().GetNode(t.Context(), connect.NewRequest(&orlav1.GetNodeRequest{}))
		if err == nil || !strings.Contains(err.Error(), "it runs another version of Orla") {
			t.Errorf("GetNode says %v", err)
		}
	})
	t.Run("node of this machine", func(t *testing.T) {
		m := newMachine(t)
		m.node(t, "http://"+closed.Addr().String(), secret)
		c, err := client.Find(client.Options{Getenv: m.getenv})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Control().GetNode(t.Context(), connect.NewRequest(&orlav1.GetNodeRequest{}))
		if err == nil || !strings.Contains(err.Error(), "the node of this machine does not answer") || !strings.Contains(err.Error(), "start it with `orla serve`") {
			t.Errorf("GetNode says %v", err)
		}
	})
}

// BenchmarkDeploy uploads 5,000 files to a store that has none of them.
func BenchmarkDeploy(b *testing.B) {
	files := map[string]string{}
	for i := range 5000 {
		files[fmt.Sprintf("d%02d/%04d.html", i%50, i)] = strings.Repeat(fmt.Sprint("line ", i, "\n"), 800)
	}
	_, pkg := shop(b, files)
	b.SetBytes(pkg.Size())
	for b.Loop() {
		b.StopTimer()
		c := newNode(b).serve(b, false)
		b.StartTimer()
		if _, err := c.Deploy(b.Context(), pkg, client.DeployOptions{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
