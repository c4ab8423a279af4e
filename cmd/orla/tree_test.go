package main

import (
	"io"
	"os"
	"path/filepath"
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
	each(newRoot(silentConsole()), func(cmd *cobra.Command) { validLines(t, cmd.CommandPath(), cmd.Example) })
}

// TestDocumentsAreValid does so with what the documents tell people to type.
func TestDocumentsAreValid(t *testing.T) {
	block := regexp.MustCompile("(?s)```(?:sh|console)\n(.*?)```")
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../examples/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no documents (%v)", pattern, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range block.FindAllSubmatch(text, -1) {
				validLines(t, name, string(m[1]))
			}
		}
	}
}

// validLines parses each line of text that calls orla.
func validLines(t *testing.T, where, text string) {
	t.Helper()
	call := regexp.MustCompile(`(?m)(?:^|[$<]\(|[=&|] ?|\$ )(?:\w+=\S+ )* *(?:bin/)?orla ([^#|>)\n]*)`)
	quoted := regexp.MustCompile(`'[^']*'|"[^"]*"`)
	for _, m := range call.FindAllStringSubmatch(text, -1) {
		args := strings.Fields(strings.TrimRight(quoted.ReplaceAllString(m[1], "word"), " &"))
		found, rest, err := newRoot(silentConsole()).Find(args)
		if err == nil {
			err = found.ParseFlags(rest)
		}
		if err == nil {
			err = found.ValidateArgs(found.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %q: %v", where, strings.TrimSpace(m[0]), err)
		}
	}
}

// TestListsPrintJSON: a command that shows something can show it to programs.
func TestListsPrintJSON(t *testing.T) {
	plain := map[string]bool{ // what they print is a text for one purpose, or nothing
		"orla serve": true, "orla dev": true, "orla completion": true, "orla routes export": true, "orla routes diff": true,
		"orla": true, "orla module": true, "orla token": true, "orla cluster": true,
		"orla kv": true, "orla secrets": true,
	}
	each(newRoot(silentConsole()), func(cmd *cobra.Command) {
		if has := cmd.Flags().Lookup("json") != nil; has == plain[cmd.CommandPath()] {
			t.Errorf("%s: --json = %t, want %t", cmd.CommandPath(), has, !has)
		}
	})
}
