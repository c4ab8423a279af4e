package control

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Keys of the register. A host pattern's key says which app owns it; its
// wildcards are spelled out, since a key has no "*".
const (
	headPrefix  = "head."
	hostPrefix  = "host."
	tokenPrefix = "token."
	nodePrefix  = "node."
)

func headKey(name string) string { return headPrefix + name }
func tokenKey(id string) string  { return tokenPrefix + id }

// nodeKey is that of what is asked of a node. Node names may have any character.
func nodeKey(name string) string { return nodePrefix + hex.EncodeToString([]byte(name)) }

// drainedValue of a node's key asks it to send its clients elsewhere.
const drainedValue = "drained"

func hostKey(pattern string) string {
	if pattern == "*" {
		return hostPrefix + "_any"
	}
	if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
		return hostPrefix + "_wild." + suffix
	}
	return hostPrefix + strings.NewReplacer("[", "", "]", "", ":", "-").Replace(pattern)
}

// versioned is a decoded entry with the revision to compare and set it by.
type versioned[M proto.Message] struct {
	value    M
	revision uint64
}

// catalog is what the register says, decoded and in memory, so that reading
// neither needs NATS nor waits for it.
type catalog struct {
	mu       sync.RWMutex // guards all below
	heads    map[string]versioned[*orlav1.Head]
	tokens   map[string]*orlav1.Token // by id
	callers  map[[sha256.Size]byte]principal
	refusals map[string]*orlav1.Refusal
	asked    map[string]string // of nodes, by key
	loaded   bool              // it has what the node last knew, or more

	admin [sha256.Size]byte
}

func newCatalog(adminToken string) *catalog {
	c := &catalog{
		heads: map[string]versioned[*orlav1.Head]{}, tokens: map[string]*orlav1.Token{},
		refusals: map[string]*orlav1.Refusal{}, asked: map[string]string{}, admin: hashSecret(adminToken),
	}
	c.indexLocked()
	return c
}

// apply takes an update over. It returns the heads that are new or changed and
// the names of those that are gone. Entries that cannot be decoded are left out
// and named in the error.
func (c *catalog) apply(u cluster.Update) (changed []*orlav1.Head, gone []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := map[string]bool{} // after a full update: what it did not mention
	tokens := u.Full             // some may have changed
	if u.Full {
		for name := range c.heads {
			missing[name] = true
		}
		clear(c.tokens)
		clear(c.asked)
	}
	c.loaded = true
	var broken []string
	for _, e := range u.Entries {
		switch {
		case strings.HasPrefix(e.Key, headPrefix):
			name := strings.TrimPrefix(e.Key, headPrefix)
			delete(missing, name)
			if e.Value == nil {
				missing[name] = true
				continue
			}
			head, derr := decode[orlav1.Head](e.Value)
			if derr != nil {
				broken = append(broken, e.Key)
				continue
			}
			c.heads[name] = versioned[*orlav1.Head]{head, e.Revision}
			changed = append(changed, head)
		case strings.HasPrefix(e.Key, tokenPrefix):
			tokens = true
			if !c.applyTokenLocked(strings.TrimPrefix(e.Key, tokenPrefix), e.Value) {
				broken = append(broken, e.Key)
			}
		case strings.HasPrefix(e.Key, nodePrefix) && e.Value == nil:
			delete(c.asked, e.Key)
		case strings.HasPrefix(e.Key, nodePrefix):
			c.asked[e.Key] = string(e.Value)
		}
	}
	for name := range missing {
		delete(c.heads, name)
		delete(c.refusals, name)
		gone = append(gone, name)
	}
	if tokens {
		c.indexLocked()
	}
	if broken != nil {
		err = fmt.Errorf("control: register entries cannot be decoded: %q", broken)
	}
	return changed, gone, err
}

func (c *catalog) applyTokenLocked(id string, value []byte) bool {
	if value == nil {
		delete(c.tokens, id)
		return true
	}
	token, err := decode[orlav1.Token](value)
	if err == nil {
		c.tokens[id] = token
	}
	return err == nil
}

// localID stands for the id of a node's own admin token.
const localID = "local"

// tokenName returns the name of a token; empty if there is none.
func (c *catalog) tokenName(id string) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tokens[id].GetName()
}

func (c *catalog) indexLocked() {
	c.callers = map[[sha256.Size]byte]principal{c.admin: {name: "admin", id: localID, role: orlav1.Role_ROLE_ADMIN}}
	for _, t := range c.tokens {
		if len(t.GetHash()) == sha256.Size {
			c.callers[[sha256.Size]byte(t.GetHash())] = principal{name: t.GetName(), id: t.GetId(), role: t.GetRole(), apps: t.GetApps()}
		}
	}
}

// knows reports whether the catalog has been told what there is: before, it cannot say
// of a token that there is none.
func (c *catalog) knows() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.loaded
}

// identity returns who shows this secret.
func (c *catalog) identity(secret string) (principal, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	id, ok := c.callers[hashSecret(secret)]
	return id, ok
}

// drained reports whether a node shall send its clients elsewhere.
func (c *catalog) drained(node string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.asked[nodeKey(node)] == drainedValue
}

// head returns a head and the revision of its key; nil if there is none.
func (c *catalog) head(name string) (*orlav1.Head, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v := c.heads[name]
	return v.value, v.revision
}

func (c *catalog) listHeads(kind orlav1.Kind) []versioned[*orlav1.Head] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []versioned[*orlav1.Head]
	for _, v := range c.heads {
		if kind == orlav1.Kind_KIND_UNSPECIFIED || v.value.GetKind() == kind {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b versioned[*orlav1.Head]) int {
		return strings.Compare(a.value.GetName(), b.value.GetName())
	})
	return out
}

func (c *catalog) listTokens() []*orlav1.Token {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*orlav1.Token, 0, len(c.tokens))
	for _, t := range c.tokens {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *orlav1.Token) int { return a.GetCreated().AsTime().Compare(b.GetCreated().AsTime()) })
	return out
}

// refuse notes that the node did not take a head over, or, with a nil refusal,
// that it did.
func (c *catalog) refuse(name string, r *orlav1.Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r == nil {
		delete(c.refusals, name)
		return
	}
	c.refusals[name] = r
}

func (c *catalog) refusal(name string) *orlav1.Refusal {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.refusals[name]
}

func (c *catalog) listRefusals() []*orlav1.Refusal {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*orlav1.Refusal, 0, len(c.refusals))
	for _, r := range c.refusals {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *orlav1.Refusal) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// message is a pointer to a T that is a proto.Message.
type message[T any] interface {
	*T
	proto.Message
}

func decode[T any, M message[T]](b []byte) (M, error) {
	m := M(new(T))
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("decode register entry: %w", err)
	}
	return m, nil
}

func encode(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode register entry: %w", err)
	}
	return b, nil
}

// liveRelease returns the history line of a head's live release; nil if the head
// does not have it.
func liveRelease(h *orlav1.Head) *orlav1.Release { return findRelease(h, h.GetLive()) }

func findRelease(h *orlav1.Head, number uint64) *orlav1.Release {
	for _, r := range h.GetReleases() {
		if r.GetNumber() == number {
			return r
		}
	}
	return nil
}
