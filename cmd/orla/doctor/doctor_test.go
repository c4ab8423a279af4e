package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/memory"
)

func well(context.Context) (*orlav1.GetNodeResponse, error) {
	return &orlav1.GetNodeResponse{Node: "n1", Version: "v1", RegisterReady: true, Revision: 7, Urls: []string{"http://localhost:8080"}}, nil
}

// find returns the findings of one check.
func find(found []Finding, check string) []Finding {
	var out []Finding
	for _, f := range found {
		if f.Check == check {
			out = append(out, f)
		}
	}
	return out
}

func TestNode(t *testing.T) {
	silent := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(silent.Close)
	free := "http://" + freeAddr(t)
	answer := func(res *orlav1.GetNodeResponse, err error) func(context.Context) (*orlav1.GetNodeResponse, error) {
		return func(context.Context) (*orlav1.GetNodeResponse, error) { return res, err }
	}
	unavailable := connect.NewError(connect.CodeUnavailable, errors.New("connection refused"))
	tests := []struct {
		name   string
		url    string
		node   func(context.Context) (*orlav1.GetNodeResponse, error)
		check  string
		status Status
		detail string
	}{
		{"well", free, well, "node", OK, "n1 answers"},
		{"same version", free, well, "version", OK, "v1"},
		{"other version", free, answer(&orlav1.GetNodeResponse{Version: "v2"}, nil), "version", Warn, "the node is v2, this command v1"},
		{"register", free, well, "register", OK, "at revision 7"},
		{"register down", free, answer(&orlav1.GetNodeResponse{RegisterError: "disk full"}, nil), "register", Fail, "disk full"},
		{"refusal", free, answer(&orlav1.GetNodeResponse{Refusals: []*orlav1.Refusal{{Name: "shop", Release: 3, Reason: "blob missing"}}}, nil), "release", Warn, "release 3 of shop was not taken over: blob missing"},
		{"no listener", free, answer(&orlav1.GetNodeResponse{}, nil), "serves", Warn, "no public listener"},
		{"token", free, answer(nil, connect.NewError(connect.CodeUnauthenticated, errors.New("not known here"))), "token", Fail, "not known here"},
		{"nothing there", free, answer(nil, unavailable), "node", Fail, "nothing answers at " + free},
		{"something else there", silent.URL, answer(nil, unavailable), "node", Fail, "is not a node (404 Not Found)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := find(Examine(t.Context(), Config{Node: tt.node, URL: tt.url, Version: "v1"}), tt.check)
			if len(found) != 1 || found[0].Status != tt.status || !strings.Contains(found[0].Detail, tt.detail) {
				t.Fatalf("%s = %+v, want %s: %s", tt.check, found, tt.status, tt.detail)
			}
			if tt.status == Fail && found[0].Next == "" {
				t.Error("a failure without a next step")
			}
		})
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestPorts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	down := func(context.Context) (*orlav1.GetNodeResponse, error) {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("refused"))
	}
	c := Config{Data: t.TempDir(), Local: true, HTTP: ln.Addr().String(), HTTPS: "off", Admin: "127.0.0.1:0", Node: down, URL: "http://" + freeAddr(t)}
	found := find(Examine(t.Context(), c), "port")
	if len(found) != 2 {
		t.Fatalf("ports = %+v, want one for --http and one for --admin", found)
	}
	if found[0].Status != Fail || !strings.Contains(found[0].Detail, "--http") || !strings.Contains(found[0].Detail, "in use") {
		t.Errorf("a port in use = %+v, want fail", found[0])
	}
	if found[1].Status != OK {
		t.Errorf("a free port = %+v, want ok", found[1])
	}
	c.Node = well
	if found := find(Examine(t.Context(), c), "port"); len(found) != 0 {
		t.Errorf("with a node that answers, ports = %+v, want none: the node has them", found)
	}
	c.Local, c.Node = false, down
	if found := Examine(t.Context(), c); len(found) != 1 {
		t.Errorf("for a node elsewhere = %+v, want nothing of this machine", found)
	}
}

func TestData(t *testing.T) {
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	leaky := t.TempDir()
	if err := os.WriteFile(filepath.Join(leaky, "admin.token"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(private, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, data, check string
		status            Status
		detail            string
	}{
		{"private", private, "data", OK, "read by nobody else"},
		{"readable", open, "data", Warn, "read by others"},
		{"a file", file, "data", Fail, "not a directory"},
		{"not there", filepath.Join(private, "new", "er"), "data", OK, "not there yet"},
		{"space", filepath.Join(private, "new", "er"), "disk", OK, " free at " + private},
		{"token readable", leaky, "admin token", Fail, "mode -rw-r--r--"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := find(Examine(t.Context(), Config{Data: tt.data, Local: true, Node: well, Version: "v1"}), tt.check)
			if len(found) == 1 && tt.check == "disk" {
				found[0].Status = OK // how full this machine's disk is, is not the claim
			}
			if len(found) != 1 || found[0].Status != tt.status || !strings.Contains(found[0].Detail, tt.detail) {
				t.Errorf("%s of %s = %+v, want %s: %s", tt.check, tt.data, found, tt.status, tt.detail)
			}
		})
	}
}

func TestThresholds(t *testing.T) {
	for free, want := range map[uint64]Status{spaceFail - 1: Fail, spaceFail: Warn, spaceWarn - 1: Warn, spaceWarn: OK} {
		if got := spaceFinding("/data", free).Status; got != want {
			t.Errorf("%d bytes free = %s, want %s", free, got, want)
		}
	}
	for limit, want := range map[uint64]Status{256: Warn, filesWarn - 1: Warn, filesWarn: OK, 1<<63 - 1: OK} {
		if got := filesFinding(limit).Status; got != want {
			t.Errorf("%d open files = %s, want %s", limit, got, want)
		}
	}
}

func TestWorst(t *testing.T) {
	ok, warn, fail := Finding{Status: OK}, Finding{Status: Warn}, Finding{Status: Fail}
	tests := []struct {
		name  string
		found []Finding
		want  Status
	}{
		{"none", nil, OK},
		{"fail before warn", []Finding{ok, fail, warn}, Fail},
		{"warn before fail", []Finding{warn, fail}, Fail},
		{"warn", []Finding{ok, warn, ok}, Warn},
	}
	for _, tt := range tests {
		if got := Worst(tt.found); got != tt.want {
			t.Errorf("%s: Worst = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// rootCertificate writes a CA into a data directory and returns it.
func rootCertificate(t *testing.T, data string, notAfter time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: notAfter.Add(-time.Hour), NotAfter: notAfter, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(data, "certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(data, "certs", "root.pem"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestAuthority(t *testing.T) {
	data := t.TempDir()
	cert := rootCertificate(t, data, time.Now().Add(time.Hour))
	trusted := x509.NewCertPool()
	trusted.AddCert(cert)
	expired := t.TempDir()
	old := rootCertificate(t, expired, time.Now().Add(-time.Hour))
	garbage := t.TempDir()
	rootCertificate(t, garbage, time.Now())
	if err := os.WriteFile(filepath.Join(garbage, "certs", "root.pem"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, data   string
		roots        *x509.CertPool
		status       Status
		detail, next string
	}{
		{"none", t.TempDir(), trusted, OK, "there is none yet", ""},
		{"trusted", data, trusted, OK, Fingerprint(cert), ""},
		{"not trusted", data, x509.NewCertPool(), Warn, Fingerprint(cert), "curl --cacert " + filepath.Join(data, "certs", "root.pem")},
		{"expired", expired, trusted, Fail, Fingerprint(old), "no longer valid"},
		{"not a certificate", garbage, trusted, Fail, "it is not PEM", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := Config{Data: tt.data, Roots: tt.roots}.authority()[0]
			if f.Status != tt.status || !strings.Contains(f.Detail, tt.detail) || !strings.Contains(f.Next, tt.next) {
				t.Errorf("authority = %+v, want %s: %s → %s", f, tt.status, tt.detail, tt.next)
			}
		})
	}
}

func TestFingerprint(t *testing.T) {
	got := Fingerprint(&x509.Certificate{Raw: []byte("orla")})
	if len(got) != 95 || strings.Count(got, ":") != 31 || got != strings.ToUpper(got) {
		t.Errorf("fingerprint = %q, want 32 upper-case pairs", got)
	}
}

func TestTrust(t *testing.T) {
	for _, system := range []string{"linux", "darwin"} {
		if got := trust(system, "/x/root.crt"); !strings.Contains(got, "sudo ") || !strings.Contains(got, "/x/root.crt") {
			t.Errorf("trust(%q) = %q, want a command with the file", system, got)
		}
	}
}

func TestReset(t *testing.T) {
	tests := []struct {
		by     memory.Method
		status Status
		next   string
	}{
		{memory.Scan, OK, ""},
		{memory.Read, OK, "Linux 6.7"},
		{memory.Discard, Warn, "mount /proc"},
		{memory.None, Warn, "on Linux"},
	}
	for _, tt := range tests {
		if f := reset(tt.by); f.Status != tt.status || !strings.Contains(f.Next, tt.next) || (tt.next == "") != (f.Next == "") {
			t.Errorf("reset(%q) = %+v, want %s → %q", tt.by, f, tt.status, tt.next)
		}
	}
}

func TestRoom(t *testing.T) {
	const gib = 1 << 30
	tests := []struct {
		name   string
		room   room
		status Status
		detail string
		next   string
	}{
		{"half of it", room{total: 8 * gib, instances: 100, overcommit: 0, maps: 65530}, OK, "at most 100, with 4.0 GiB of 8.0 GiB", ""},
		{"as set", room{total: 8 * gib, memory: 6 * gib, instances: 20_000, overcommit: 1, maps: 65530}, OK, "with 6.0 GiB of 8.0 GiB", ""},
		{"not Linux", room{total: 8 * gib, instances: 20_000, overcommit: -1, maps: -1}, OK, "", ""},
		{"more than there is", room{total: 8 * gib, memory: 9 * gib, instances: 1, maps: 65530}, Warn, "", "--function-memory"},
		{"reserving takes memory", room{total: 8 * gib, instances: 1, overcommit: 2, maps: 65530}, Warn, "", "vm.overcommit_memory=0"},
		{"little address space", room{total: 8 * gib, instances: 1, space: 16 * gib, maps: 65530}, Warn, "", "limited to 16 GiB"},
		{"few mappings", room{total: 8 * gib, instances: 50_000, maps: 65530}, Warn, "", "vm.max_map_count=104096"},
	}
	for _, tt := range tests {
		f := tt.room.finding()
		if f.Status != tt.status || !strings.Contains(f.Detail, tt.detail) || !strings.Contains(f.Next, tt.next) {
			t.Errorf("%s: %+v, want %s: %s → %s", tt.name, f, tt.status, tt.detail, tt.next)
		}
	}
}

func TestCompiler(t *testing.T) {
	for want, err := range map[Status]error{OK: nil, Fail: errors.New("no such file")} {
		c := Config{Local: true, Data: t.TempDir(), Node: well, Compile: func(context.Context) error { return err }}
		f := find(Examine(t.Context(), c), "compiler")
		if len(f) != 1 || f[0].Status != want || (want == Fail) != (f[0].Next != "") {
			t.Errorf("with %v, compiler = %+v, want %s", err, f, want)
		}
	}
}

func TestExecutable(t *testing.T) {
	if f := executable(); f.Status == Fail {
		t.Errorf("this machine runs the engine's tests, and yet: %+v", f)
	}
}
