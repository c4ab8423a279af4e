package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/app/starter"
)

func newCommand(c *console) *cobra.Command {
	long := new(strings.Builder)
	long.WriteString("Write a small app into DIR that can be deployed as it is. TEMPLATE is one of:\n")
	for _, t := range starter.Templates() {
		fmt.Fprintf(long, "\n  %-8s %s", t.Name, t.Summary)
	}
	cmd := &cobra.Command{
		Use: "new TEMPLATE DIR", Short: "Start an app: " + strings.Join(starter.Names(), ", "), Long: long.String(),
		Example: "  orla new static site\n  orla new go shop",
		Args:    exact("TEMPLATE", "DIR"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return starter.Names(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		r, err := starter.Write(args[0], args[1])
		if errors.Is(err, starter.ErrUnknown) {
			return usageError{person{err}}
		}
		if err != nil {
			return person{err}
		}
		return c.started(args[1], r, asJSON)
	}
	return cmd
}

// started prints what has been written, and what to type next.
func (c *console) started(dir string, r starter.Result, asJSON bool) error {
	if asJSON {
		return c.json(struct {
			Name     string   `json:"name"`
			Template string   `json:"template"`
			Dir      string   `json:"dir"`
			Files    []string `json:"files"`
		}{r.Name, r.Template.Name, dir, r.Files})
	}
	text := new(strings.Builder)
	fmt.Fprintf(text, "%s is in %s: %s\n  %s\n\nnext:\n", r.Name, dir, r.Template.Summary, strings.Join(r.Files, ", "))
	if t := r.Template; t.Tool != "" {
		if _, err := exec.LookPath(t.Tool); err != nil {
			fmt.Fprintf(text, "  install %s, which builds it and is not in PATH\n", t.Tool)
		}
	}
	if r.Template.Hint != "" {
		fmt.Fprintf(text, "  %s\n", r.Template.Hint)
	}
	fmt.Fprintf(text, "  orla dev %[1]s       # http://localhost:3000, built again when a file changes\n  orla deploy %[1]s    # make it live on a node\n", shellWord(dir))
	return c.printf("%s", text)
}

// shellWord quotes a word for a shell if it has to be.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./+,:@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
