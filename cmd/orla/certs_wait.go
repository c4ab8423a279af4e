package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

const (
	// certWait is how long a deploy waits for certificates, and certEvery how often it looks.
	certWait  = time.Minute
	certEvery = 500 * time.Millisecond
)

// awaitCerts waits until hosts have certificates, or it is known why not, and returns what
// they have; how long that took is in the map, for those that had none at first. Without
// ACME there is nothing to wait for.
func (c *console) awaitCerts(ctx context.Context, api orlav1connect.ControlServiceClient, hosts []string, silent bool) ([]certShape, map[string]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, certWait)
	defer cancel()
	p := c.progress(silent || !c.isTerminal(c.err))
	defer p.end()
	req := &orlav1.ListCertificatesRequest{Hosts: hosts[:min(len(hosts), certPage)]}
	start, took := time.Now(), map[string]time.Duration{}
	var last []certShape
	for first := true; ; first = false {
		res, err := api.ListCertificates(ctx, connect.NewRequest(req))
		if err != nil && (first || ctx.Err() == nil) {
			return nil, nil, err
		}
		if err != nil {
			return last, took, nil
		}
		if res.Msg.GetMode() != "acme" {
			return nil, nil, nil
		}
		last = shapes(res.Msg.GetCertificates(), certOf)
		waiting := ""
		done := uint64(0)
		for _, s := range last {
			switch _, known := took[s.Host]; {
			case s.State == "pending":
				waiting = s.Host
				took[s.Host] = -1
				continue
			case known && took[s.Host] < 0:
				took[s.Host] = time.Since(start)
			}
			done++
		}
		if waiting == "" {
			return last, took, nil
		}
		p.show("certificates", done, uint64(len(last)), waiting, false)
		select {
		case <-ctx.Done():
			return last, took, nil
		case <-time.After(certEvery):
		}
	}
}

// showCerts waits for the certificates of a release that is live, and tells about each
// host's. That it is live is not changed by any of it.
func (c *console) showCerts(ctx context.Context, api orlav1connect.ControlServiceClient, hosts []string) error {
	all, took, err := c.awaitCerts(ctx, api, hosts, false)
	if err != nil {
		if connect.CodeOf(err) != connect.CodeUnimplemented && ctx.Err() == nil {
			c.tell("orla: whether its hosts have certificates is not known: %s\n", lines(err))
		}
		return nil
	}
	for _, s := range all {
		if s.Source == "internal" {
			continue
		}
		if s.NotAfter.IsZero() || s.State == "expired" || s.State == "unusable" {
			c.tell("  %s\n", plain(s.missing()))
			continue
		}
		text := fmt.Sprintf("%s: certificate of %s until %s", s.Host, s.Issuer, s.NotAfter.Local().Format(time.DateOnly))
		if d := took[s.Host]; d > 0 {
			text += ", in " + strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
		}
		if err := c.printf("  %s\n", plain(text)); err != nil {
			return err
		}
	}
	return nil
}

// missing says why a host has no certificate, and what comes next.
func (s certShape) missing() string {
	switch {
	case s.Failure != nil:
		return fmt.Sprintf("%s: no certificate yet: %s; it is tried again at %s", s.Host, s.Failure.Error, when(s.Failure.Next))
	case s.State == "on demand":
		return s.Host + ": its certificate is ordered at the first handshake"
	case s.State == "not ordered":
		return fmt.Sprintf("%s: no certificate: %s", s.Host, s.Reason)
	case s.State == "pending":
		return fmt.Sprintf("%s: no certificate yet (%s); see: orla certs show %s", s.Host, s.Reason, s.Host)
	}
	return fmt.Sprintf("%s: no certificate that can be used (%s): %s", s.Host, s.State, cmp.Or(s.Reason, "see: orla certs show "+s.Host))
}
