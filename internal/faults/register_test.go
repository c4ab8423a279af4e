//go:build linux

package faults

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// What clients do to a head, as an object whose history can be checked: it has a live
// release, and numbers new ones in order. A push says which release has to be live, and
// is refused if another is; a rollback makes an earlier release live; a read tells.

type opKind int

const (
	opRead opKind = iota
	opPush
	opRollback
)

// input is what a client asks of a head.
type input struct {
	set    string
	kind   opKind
	expect uint64 // of a push: what has to be live
	target uint64 // of a rollback
	text   string // of a push: tells it from all others
}

type verdict int

const (
	done    verdict = iota
	refused         // nothing has changed
	unknown         // perhaps it was done, at any time since
)

// output is what the client has been told. A refusal that names the live release tells
// what a read would.
type output struct {
	verdict
	live     uint64 // release; of a refusal that does not name it, nobody
	text     string // of a read: the live release's
	last     uint64 // of a read: the newest release
	revision uint64 // of a read
}

const nobody = math.MaxUint64

// head is the state of the object.
type head struct {
	live, last uint64
	texts      string // of the releases, in order, each ended by a line feed: states are compared
	revision   uint64 // as a read has told it; later ones tell more
	moved      bool   // since that read
}

func (h head) text(release uint64) string {
	lines := strings.Split(h.texts, "\n")
	if release == 0 || release > uint64(len(lines)) {
		return ""
	}
	return lines[release-1]
}

// push is the state after a new release.
func (h head) push(text string) head {
	return head{live: h.last + 1, last: h.last + 1, texts: h.texts + text + "\n", revision: h.revision, moved: true}
}

func (h head) rollback(release uint64) head {
	h.live, h.moved = release, true
	return h
}

// step returns the states that h may be in after an operation; none: it cannot have had
// that outcome.
func step(h head, in input, out output) []head {
	switch in.kind {
	case opRead:
		return stepRead(h, out)
	case opPush:
		switch {
		case out.verdict == unknown && h.live == in.expect:
			return []head{h, h.push(in.text)}
		case out.verdict == done && h.live == in.expect && out.live == h.last+1:
			return []head{h.push(in.text)}
		case out.verdict == unknown, out.verdict == refused && (out.live == nobody || out.live == h.live && out.live != in.expect):
			return []head{h}
		}
	case opRollback:
		possible := in.target <= h.last && h.live != in.target
		switch {
		case out.verdict == unknown && possible:
			return []head{h, h.rollback(in.target)}
		case out.verdict == done && possible:
			return []head{h.rollback(in.target)}
		case out.verdict == unknown, out.verdict == refused && (out.live == nobody || out.live == h.live):
			return []head{h}
		}
	}
	return nil
}

func stepRead(h head, out output) []head {
	switch {
	case out.verdict != done:
		return []head{h}
	case out.live != h.live || out.last != h.last || out.text != h.text(h.live):
		return nil
	case h.moved && out.revision <= h.revision, !h.moved && h.revision != 0 && out.revision != h.revision:
		return nil
	}
	h.revision, h.moved = out.revision, false
	return []head{h}
}

// model is the object for the checker.
func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, op := range ops {
				set := op.Input.(input).set //nolint:forcetypeassert // of ours
				by[set] = append(by[set], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range by {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() []any { return []any{head{}} },
		Step: func(state, in, out any) []any {
			var next []any
			for _, h := range step(state.(head), in.(input), out.(output)) { //nolint:forcetypeassert // of ours
				next = append(next, h)
			}
			return next
		},
		Equal:             func(a, b any) bool { return a.(head) == b.(head) }, //nolint:forcetypeassert // of ours
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
	return m.ToModel()
}

// forever is when an operation of unknown outcome may have taken effect at the latest.
const forever = math.MaxInt64

// settled leaves out what cannot matter, for the search takes long with operations that
// may have happened at any time: reads that failed, and pushes of unknown outcome that
// are in no head's history in the end, so that they did not happen.
func settled(ops []porcupine.Operation, history map[string]bool) []porcupine.Operation {
	return slices.DeleteFunc(slices.Clone(ops), func(op porcupine.Operation) bool {
		in, out := op.Input.(input), op.Output.(output) //nolint:forcetypeassert // of ours
		return out.verdict == unknown && (in.kind == opRead || in.kind == opPush && !history[in.text])
	})
}

// check returns what is wrong with a history.
func check(ops []porcupine.Operation) error { return checkIn(time.Minute, ops) }

// checkIn is check for a while: a history that it is not done with by then is an error too.
func checkIn(limit time.Duration, ops []porcupine.Operation) error {
	switch r := porcupine.CheckOperationsTimeout(model(), ops, limit); r {
	case porcupine.Ok:
		return nil
	default:
		return fmt.Errorf("the history of %d operations is %s", len(ops), r)
	}
}

// TestChecker: what it has to let pass and what it has to find.
func TestChecker(t *testing.T) {
	t.Parallel()
	push := func(from, to int64, expect uint64, text string, out output) porcupine.Operation {
		return porcupine.Operation{ClientId: int(from), Input: input{set: "s", kind: opPush, expect: expect, text: text}, Output: out, Call: from, Return: to}
	}
	back := func(from, to int64, target uint64, out output) porcupine.Operation {
		return porcupine.Operation{ClientId: int(from), Input: input{set: "s", kind: opRollback, target: target}, Output: out, Call: from, Return: to}
	}
	read := func(from, to int64, live, last, revision uint64, text string) porcupine.Operation {
		return porcupine.Operation{
			ClientId: int(from), Input: input{set: "s"}, Output: output{live: live, last: last, revision: revision, text: text}, Call: from, Return: to,
		}
	}
	live := func(n uint64) output { return output{live: n} }
	no := func(n uint64) output { return output{verdict: refused, live: n} }
	tests := []struct {
		name string
		ops  []porcupine.Operation
		ok   bool
	}{
		{"one after the other", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), read(3, 4, 1, 1, 10, "a"), push(5, 6, 1, "b", live(2)), read(7, 8, 2, 2, 20, "b"),
			back(9, 10, 1, live(1)), read(11, 12, 1, 2, 30, "a"),
		}, true},
		{"a stale read", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), read(3, 4, 1, 1, 10, "a"), push(5, 6, 1, "b", live(2)), read(7, 8, 1, 1, 10, "a"),
		}, false},
		{"a read of the old at the same time", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), push(5, 9, 1, "b", live(2)), read(6, 7, 1, 1, 10, "a"),
		}, true},
		{"a stale read that looks like what came again", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), push(3, 4, 1, "b", live(2)), back(5, 6, 1, live(1)), read(7, 8, 1, 2, 10, "a"),
			back(9, 10, 2, live(2)), back(11, 12, 1, live(1)), read(13, 14, 1, 2, 10, "a"),
		}, false},
		{"a lost compare-and-set: two pushes onto one release", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), push(3, 6, 1, "b", live(2)), push(4, 5, 1, "c", live(2)),
		}, false},
		{"a lost push: acknowledged, and then not there", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), push(3, 4, 1, "b", live(2)), push(5, 6, 1, "c", live(2)), read(7, 8, 2, 2, 10, "c"),
		}, false},
		{"a conflict that names what is live", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), push(3, 4, 0, "b", no(1)), back(5, 6, 1, no(1)),
		}, true},
		{"a conflict that names what was live", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), push(3, 4, 1, "b", live(2)), push(5, 6, 2, "c", no(1)),
		}, false},
		{"a push that was refused and made", []porcupine.Operation{
			push(1, 2, 0, "a", live(1)), push(3, 4, 1, "b", no(nobody)), read(5, 6, 2, 2, 10, "b"),
		}, false},
		{"unknown, made later", []porcupine.Operation{
			push(1, forever, 0, "a", output{verdict: unknown}), read(5, 6, 0, 0, 0, ""), read(7, 8, 1, 1, 10, "a"),
		}, true},
		{"unknown, never made", []porcupine.Operation{
			push(1, forever, 0, "a", output{verdict: unknown}), push(3, 4, 0, "b", live(1)), read(7, 8, 1, 1, 10, "b"),
		}, true},
		{"unknown, made and undone by nobody", []porcupine.Operation{
			push(1, forever, 0, "a", output{verdict: unknown}), read(3, 4, 1, 1, 10, "a"), read(7, 8, 0, 0, 0, ""),
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := check(tt.ops); (err == nil) != tt.ok {
				t.Errorf("check = %v, want ok: %t", err, tt.ok)
			}
		})
	}
}
