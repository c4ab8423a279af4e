package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Certificates are a node's, which knows those of the whole cluster. Errors are for people,
// and, if they should have a code, of connect. Its methods may be called concurrently.
type Certificates interface {
	// List returns from memory what is asked for.
	List(req *orlav1.ListCertificatesRequest) *orlav1.ListCertificatesResponse
	// Show returns what a host has, with its chain.
	Show(host string) (*orlav1.Certificate, error)
	// Import stores a certificate for every node; chain and key are PEM.
	Import(ctx context.Context, host string, chain, key []byte, who string) (*orlav1.Certificate, []string, error)
	// Remove takes one away, and returns it.
	Remove(ctx context.Context, host string) (*orlav1.Certificate, error)
	// Renew has one ordered, and returns when it is there.
	Renew(ctx context.Context, host string) error
	// RotateRoot makes a new root for the internal CA, or tells which there is.
	RotateRoot(ctx context.Context, req *orlav1.RotateRootRequest) (*orlav1.RotateRootResponse, error)
}

const (
	// modeOff is what a node without certificates has for a mode.
	modeOff = "off"
	// maxCertHosts is how many hosts one call may ask about.
	maxCertHosts = 1000
	// renewLimit bounds the wait for an order.
	renewLimit = 5 * time.Minute
)

var errNoCertificates = connect.NewError(connect.CodeFailedPrecondition,
	errors.New("the node that answers was started with --tls off, and has no certificates; ask another, or start it with --tls acme or --tls internal"))

// ListCertificates implements the API.
func (s *Service) ListCertificates(_ context.Context, req *connect.Request[orlav1.ListCertificatesRequest]) (*connect.Response[orlav1.ListCertificatesResponse], error) {
	if n := len(req.Msg.GetHosts()); n > maxCertHosts {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d hosts in one call; ask about at most %d", n, maxCertHosts))
	}
	if s.cfg.Certificates == nil {
		return connect.NewResponse(&orlav1.ListCertificatesResponse{Mode: modeOff, Now: timestamppb.Now()}), nil
	}
	return connect.NewResponse(s.cfg.Certificates.List(req.Msg)), nil
}

// ShowCertificate implements the API.
func (s *Service) ShowCertificate(_ context.Context, req *connect.Request[orlav1.ShowCertificateRequest]) (*connect.Response[orlav1.ShowCertificateResponse], error) {
	if s.cfg.Certificates == nil {
		return nil, errNoCertificates
	}
	c, err := s.cfg.Certificates.Show(req.Msg.GetHost())
	if err != nil {
		return nil, callError(err)
	}
	about := s.cfg.Certificates.List(&orlav1.ListCertificatesRequest{Hosts: []string{req.Msg.GetHost()}})
	return connect.NewResponse(&orlav1.ShowCertificateResponse{Certificate: c, Mode: about.GetMode(), Leader: about.GetLeader(), Now: about.GetNow()}), nil
}

// ImportCertificate implements the API.
func (s *Service) ImportCertificate(ctx context.Context, req *connect.Request[orlav1.ImportCertificateRequest]) (*connect.Response[orlav1.ImportCertificateResponse], error) {
	if s.cfg.Certificates == nil {
		return nil, errNoCertificates
	}
	c, warnings, err := s.cfg.Certificates.Import(ctx, req.Msg.GetHost(), req.Msg.GetChain(), req.Msg.GetPrivateKey(), caller(ctx).name)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&orlav1.ImportCertificateResponse{Certificate: c, Warnings: warnings}), nil
}

// RemoveCertificate implements the API.
func (s *Service) RemoveCertificate(ctx context.Context, req *connect.Request[orlav1.RemoveCertificateRequest]) (*connect.Response[orlav1.RemoveCertificateResponse], error) {
	if s.cfg.Certificates == nil {
		return nil, errNoCertificates
	}
	c, err := s.cfg.Certificates.Remove(ctx, req.Msg.GetHost())
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&orlav1.RemoveCertificateResponse{Certificate: c, Left: s.certificateOf(req.Msg.GetHost())}), nil
}

// RenewCertificate implements the API.
func (s *Service) RenewCertificate(ctx context.Context, req *connect.Request[orlav1.RenewCertificateRequest]) (*connect.Response[orlav1.RenewCertificateResponse], error) {
	if s.cfg.Certificates == nil {
		return nil, errNoCertificates
	}
	ctx, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	if err := s.cfg.Certificates.Renew(ctx, req.Msg.GetHost()); err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&orlav1.RenewCertificateResponse{Certificate: s.certificateOf(req.Msg.GetHost())}), nil
}

// RotateRoot implements the API.
func (s *Service) RotateRoot(ctx context.Context, req *connect.Request[orlav1.RotateRootRequest]) (*connect.Response[orlav1.RotateRootResponse], error) {
	if s.cfg.Certificates == nil {
		return nil, errNoCertificates
	}
	res, err := s.cfg.Certificates.RotateRoot(ctx, req.Msg)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(res), nil
}

// certificateOf is what a host has now.
func (s *Service) certificateOf(host string) *orlav1.Certificate {
	all := s.cfg.Certificates.List(&orlav1.ListCertificatesRequest{Hosts: []string{host}}).GetCertificates()
	return slices.Concat(all, []*orlav1.Certificate{{Subject: host}})[0]
}
