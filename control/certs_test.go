package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// oneCert are certificates of which there is one; errors are what it is asked for.
type oneCert struct{ host string }

func (o oneCert) List(req *orlav1.ListCertificatesRequest) *orlav1.ListCertificatesResponse {
	res := &orlav1.ListCertificatesResponse{Mode: "acme", Leader: "n1"}
	for _, host := range req.GetHosts() {
		res.Certificates = append(res.Certificates, &orlav1.Certificate{Subject: host, Fingerprint: "AB:CD"})
	}
	return res
}

func (o oneCert) Show(host string) (*orlav1.Certificate, error) {
	if host != o.host {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("none"))
	}
	return &orlav1.Certificate{Subject: host}, nil
}

func (o oneCert) Import(_ context.Context, host string, _, _ []byte, who string) (*orlav1.Certificate, []string, error) {
	return &orlav1.Certificate{Subject: host, Who: who, Fingerprint: "AB:CD"}, []string{"beware"}, nil
}

func (o oneCert) Remove(_ context.Context, host string) (*orlav1.Certificate, error) {
	return o.Show(host)
}

func (o oneCert) Renew(_ context.Context, host string) error {
	_, err := o.Show(host)
	return err
}

func (o oneCert) RotateRoot(_ context.Context, req *orlav1.RotateRootRequest) (*orlav1.RotateRootResponse, error) {
	res := &orlav1.RotateRootResponse{Former: &orlav1.RootCertificate{Fingerprint: "AB:CD"}}
	if !req.GetDryRun() {
		res.Root = &orlav1.RootCertificate{Fingerprint: "EF:01"}
	}
	return res, nil
}

func TestCertificatesRoles(t *testing.T) {
	p := newPlane(t)
	p.s.cfg.Certificates = oneCert{"shop.example"}
	ctx, viewer, deployer := t.Context(), p.token("eye", orlav1.Role_ROLE_VIEWER), p.token("ci", orlav1.Role_ROLE_DEPLOYER, "shop")
	const secret = "-----BEGIN PRIVATE KEY-----SECRET"
	for _, tt := range []struct {
		name string
		call func(secret string) error
		all  bool // viewers may
	}{
		{"list", func(as string) error {
			_, err := p.as(as).ListCertificates(ctx, connect.NewRequest(&orlav1.ListCertificatesRequest{}))
			return err
		}, true},
		{"show", func(as string) error {
			_, err := p.as(as).ShowCertificate(ctx, connect.NewRequest(&orlav1.ShowCertificateRequest{Host: "shop.example"}))
			return err
		}, true},
		{"import", func(as string) error {
			res, err := p.as(as).ImportCertificate(ctx, connect.NewRequest(&orlav1.ImportCertificateRequest{Host: "shop.example", Chain: []byte("chain"), PrivateKey: []byte(secret)}))
			if err == nil && (res.Msg.GetCertificate().GetWho() != "admin" || len(res.Msg.GetWarnings()) != 1) {
				t.Errorf("imported %v", res.Msg)
			}
			return err
		}, false},
		{"renew", func(as string) error {
			_, err := p.as(as).RenewCertificate(ctx, connect.NewRequest(&orlav1.RenewCertificateRequest{Host: "shop.example"}))
			return err
		}, false},
		{"remove", func(as string) error {
			_, err := p.as(as).RemoveCertificate(ctx, connect.NewRequest(&orlav1.RemoveCertificateRequest{Host: "shop.example"}))
			return err
		}, false},
		{"ask for the root", func(as string) error {
			_, err := p.as(as).RotateRoot(ctx, connect.NewRequest(&orlav1.RotateRootRequest{DryRun: true}))
			return err
		}, false},
		{"rotate the root", func(as string) error {
			_, err := p.as(as).RotateRoot(ctx, connect.NewRequest(&orlav1.RotateRootRequest{}))
			return err
		}, false},
	} {
		if err := tt.call(adminSecret); err != nil {
			t.Errorf("%s by an admin: %v", tt.name, err)
		}
		for _, secret := range []string{viewer.GetSecret(), deployer.GetSecret()} {
			err := tt.call(secret)
			if tt.all && err != nil || !tt.all && connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("%s by another: %v", tt.name, err)
			}
		}
	}
	var told []string
	for _, r := range p.audit(&orlav1.ListAuditRequest{}) {
		if strings.Contains(r.String(), "SECRET") || strings.Contains(r.String(), "chain") {
			t.Errorf("the audit log has what was imported: %v", r)
		}
		if (strings.HasSuffix(r.GetAction(), "certificate") || r.GetAction() == "rotate root") && r.GetOutcome() == outcomeOK {
			told = append(told, sentence(r))
		}
	}
	want := []string{
		"admin 127.0.0.1 import certificate shop.example [SHA-256 AB:CD until 1970-01-01] ok",
		"admin 127.0.0.1 renew certificate shop.example [SHA-256 AB:CD until 1970-01-01] ok",
		"admin 127.0.0.1 remove certificate shop.example [SHA-256 until 1970-01-01] ok",
		"admin 127.0.0.1 rotate root [SHA-256 EF:01 in place of AB:CD] ok",
	}
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit:\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

func TestCertificatesAreRefused(t *testing.T) {
	p := newPlane(t)
	ctx := t.Context()
	_, err := p.admin().ListCertificates(ctx, connect.NewRequest(&orlav1.ListCertificatesRequest{Hosts: make([]string, maxCertHosts+1)}))
	refused(t, "too many hosts", err, connect.CodeInvalidArgument, "at most 1000")
	res, err := p.admin().ListCertificates(ctx, connect.NewRequest(&orlav1.ListCertificatesRequest{}))
	if err != nil || res.Msg.GetMode() != "off" {
		t.Errorf("without certificates: %v, %v", res, err)
	}
	_, err = p.admin().ImportCertificate(ctx, connect.NewRequest(&orlav1.ImportCertificateRequest{Host: "a.example"}))
	refused(t, "import without certificates", err, connect.CodeFailedPrecondition, "--tls off")
	_, err = p.admin().ShowCertificate(ctx, connect.NewRequest(&orlav1.ShowCertificateRequest{Host: "a.example"}))
	refused(t, "show without certificates", err, connect.CodeFailedPrecondition, "--tls off")
	_, err = p.admin().RotateRoot(ctx, connect.NewRequest(&orlav1.RotateRootRequest{}))
	refused(t, "rotation without certificates", err, connect.CodeFailedPrecondition, "--tls off")
	p.s.cfg.Certificates = oneCert{"shop.example"}
	_, err = p.admin().ShowCertificate(ctx, connect.NewRequest(&orlav1.ShowCertificateRequest{Host: "a.example"}))
	refused(t, "show of none", err, connect.CodeNotFound, "none")
}
