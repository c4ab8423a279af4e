package certs

import (
	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
)

// DNS solves DNS-01 challenges (RFC 8555 §8.4).
type DNS struct {
	provider certmagic.DNSProvider
}

func (d *DNS) solver(log *zap.Logger) acmez.Solver {
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{DNSProvider: d.provider, Logger: log}}
}
