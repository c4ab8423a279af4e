package main

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func silentConsole() *console {
	return &console{in: strings.NewReader(""), out: io.Discard, err: io.Discard, env: func(string) (string, bool) { return "", false }}
}

// each calls f for every command that a person can type.
func each(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, sub := range cmd.Commands() {
		if !sub.Hidden {
			each(sub, f)
		}
	}
}

func TestEveryCommandHelps(t *testing.T) {
	count := 0
	each(newRoot(silentConsole()), func(cmd *cobra.Command) {
		count++
		path := cmd.CommandPath()
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no short text or no example", path)
		}
		if !strings.Contains(cmd.Example, path) {
			t.Errorf("the example of %q does not use it:\n%s", path, cmd.Example)
		}
		if cmd.RunE == nil || cmd.Args == nil {
			t.Errorf("%s does nothing, or checks no arguments", path)
		}
		if strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("the short text of %s ends with a full stop", path)
		}
	})
	if count < 25 {
		t.Errorf("found %d commands, want at least 25", count)
	}
}

// TestExamplesAreValid parses every line of every example: a flag that has been
// renamed shows here.
func TestExamplesAreValid(t *testing.T) {
	line := regexp.MustCompile(`\borla ([^#|>)]*)`)
	quoted := regexp.MustCompile(`'[^']*'|"[^"]*"`)
	each(newRoot(silentConsole()), func(cmd *cobra.Command) {
		for text := range strings.SplitSeq(cmd.Example, "\n") {
			m := line.FindStringSubmatch(text)
			if m == nil {
				continue
			}
			args := strings.Fields(quoted.ReplaceAllString(m[1], "word"))
			found, rest, err := newRoot(silentConsole()).Find(args)
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), text, err)
			}
		}
	})
}

// TestListsPrintJSON: a command that shows something can show it to programs.
func TestListsPrintJSON(t *testing.T) {
	plain := map[string]bool{ // what they print is a text for one purpose, or nothing
		"orla serve": true, "orla completion": true, "orla routes export": true, "orla routes diff": true,
		"orla": true, "orla module": true, "orla token": true,
	}
	each(newRoot(silentConsole()), func(cmd *cobra.Command) {
		if has := cmd.Flags().Lookup("json") != nil; has == plain[cmd.CommandPath()] {
			t.Errorf("%s: --json = %t, want %t", cmd.CommandPath(), has, !has)
		}
	})
}
