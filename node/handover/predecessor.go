package handover

import (
	"context"
	"fmt"
)

// Predecessor is the process that hands over to this one. Its methods may not be
// called concurrently. It is closed with the [Inherited].
type Predecessor struct{ line *line }

// Live returns what the predecessor serves, as it has told [Successor.Asked]. It
// comes before Directory.
func (p *Predecessor) Live(ctx context.Context) ([]string, error) {
	m, err := p.line.expect(ctx, kindLive)
	if err != nil {
		return nil, fmt.Errorf("hear what the running node serves: %w", err)
	}
	return m.Live, nil
}

// Directory asks for the data directory and returns when the predecessor has let
// go of it, with the predecessor's notes. Call it late: from then on nobody but
// this process can change anything.
func (p *Predecessor) Directory(ctx context.Context) (notes []string, err error) {
	if err := p.line.say(message{Kind: kindAsk}); err != nil {
		return nil, fmt.Errorf("ask the running node for the data directory: %w", err)
	}
	m, err := p.line.expect(ctx, kindGrant)
	if err != nil {
		return nil, fmt.Errorf("ask the running node for the data directory: %w", err)
	}
	return m.Notes, nil
}

// Serving tells the predecessor that it is not needed any more; version is this
// program's. If that fails the predecessor goes on serving, and this process must
// end.
func (p *Predecessor) Serving(version string) error {
	if err := p.line.say(message{Kind: kindServing, Version: version}); err != nil {
		return fmt.Errorf("tell the running node that this one serves: %w", err)
	}
	return nil
}

// Failed tells the predecessor why this process ends.
func (p *Predecessor) Failed(reason error) {
	_ = p.line.say(message{Kind: kindFailed, Reason: reason.Error()}) // it sees the end anyway
}
