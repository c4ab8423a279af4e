package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// solver shows challenges to all nodes: the CA may ask any of them.
type solver struct {
	book     *book
	register Register
}

var _ acmez.Solver = solver{}

func (solver) name(c acme.Challenge) string { return challengeName(c.Type, c.Identifier.Value) }

// Present implements [acmez.Solver].
func (s solver) Present(ctx context.Context, c acme.Challenge) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode challenge: %w", err)
	}
	value, err := proto.Marshal(&orlav1.CertChallenge{Challenge: text, Created: timestamppb.Now()})
	if err != nil {
		return fmt.Errorf("encode challenge: %w", err)
	}
	key := challengePrefix + s.name(c)
	if err := s.register.Commit(ctx, key, value, s.book.entry(key).Revision); err != nil {
		return fmt.Errorf("show challenge to all nodes: %w", err)
	}
	return nil
}

// CleanUp implements [acmez.Solver].
func (s solver) CleanUp(ctx context.Context, c acme.Challenge) error {
	e := s.book.entry(challengePrefix + s.name(c))
	if e.Value == nil {
		return nil
	}
	return s.register.Commit(context.WithoutCancel(ctx), e.Key, nil, e.Revision)
}

func decodeChallenge(value []byte) (c acme.Challenge, created time.Time, err error) {
	var stored orlav1.CertChallenge
	if err = proto.Unmarshal(value, &stored); err != nil {
		return c, created, err
	}
	err = json.Unmarshal(stored.GetChallenge(), &c)
	return c, stored.GetCreated().AsTime(), err
}

// Strangers can make nodes wait for challenges that never come: at most so many at a
// time, and so long.
const (
	maxChallengeWaits = 64
	challengeWait     = 2 * time.Second
)

// awaitChallenge returns the challenge of a kind for a name, if it has that token; empty:
// any. The CA can be quicker than the register, so one that is not known yet is waited for.
func (m *Manager) awaitChallenge(ctx context.Context, kind, name, token string) (acme.Challenge, bool) {
	find := func() (acme.Challenge, bool) {
		c, ok := m.book.challenge(kind, name)
		return c, ok && (token == "" || c.Token == token)
	}
	if c, ok := find(); ok {
		return c, true
	}
	if m.cfg.Mode != ModeACME || !m.cfg.Hosts(name) {
		return acme.Challenge{}, false
	}
	select {
	case m.waits <- struct{}{}:
		defer func() { <-m.waits }()
	default:
		return acme.Challenge{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, challengeWait)
	defer cancel()
	for {
		changed := m.book.next()
		if c, ok := find(); ok {
			return c, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return acme.Challenge{}, false
		}
	}
}

// Challenge returns what to answer a CA that asks for an HTTP-01 challenge's token at a
// host (RFC 8555 §8.3); false: no order waits for that.
func (m *Manager) Challenge(ctx context.Context, host, token string) (string, bool) {
	c, ok := m.awaitChallenge(ctx, acme.ChallengeTypeHTTP01, host, token)
	return c.KeyAuthorization, ok && token != ""
}

// asksALPN reports whether a handshake is a CA's that wants a TLS-ALPN-01 challenge
// solved (RFC 8737).
func asksALPN(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol})
}

// alpnConfig answers one.
func (m *Manager) alpnConfig(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c, ok := m.awaitChallenge(hello.Context(), acme.ChallengeTypeTLSALPN01, subjectOf(hello), "")
	if !ok {
		return m.refusing(), nil
	}
	cert, err := acmez.TLSALPN01ChallengeCert(c)
	if err != nil {
		return nil, fmt.Errorf("make certificate for challenge: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*cert}, NextProtos: []string{acmez.ACMETLS1Protocol},
		MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true,
	}, nil
}

// refusing answers every name with the alert unrecognized_name.
func (*Manager) refusing() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
		NextProtos:     []string{acmez.ACMETLS1Protocol}, MinVersion: tls.VersionTLS12,
	}
}
