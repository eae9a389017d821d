package kindling_test

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"kindling/internal/bench"
	"kindling/internal/cli"
	"kindling/internal/sandbox"
	"kindling/internal/service"
)

// commandTree is the tree of the program kindling.
func commandTree(t *testing.T) *cobra.Command {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	env := service.Env{Stdin: null, Stdout: io.Discard, Stderr: io.Discard}
	root := cli.New(env, sandbox.UpCommand(env), sandbox.DemoCommand(env), bench.Command(env))
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpFlag()
	return root
}

var (
	inlineCommand = regexp.MustCompile("`(?:go run \\./cmd/)?kindling ([a-z][^`]*)`")
	fencedCommand = regexp.MustCompile(`(?m)^[ \t$]*(?:go run \./cmd/)?kindling ([a-z].*)$`)
	makeTarget    = regexp.MustCompile("(?m)(?:`|^ *)make ([a-z0-9]+)")
)

// commands are the command lines that a page names, each without the word kindling.
func commands(text string) []string {
	var found []string
	for _, block := range fenced.FindAllString(text, -1) {
		for _, m := range fencedCommand.FindAllStringSubmatch(block, -1) {
			line, _, _ := strings.Cut(m[1], " #")
			found = append(found, line)
		}
	}
	for _, m := range inlineCommand.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		found = append(found, m[1])
	}
	return found
}

// unknown returns the first word of a command line that is no command and no flag where it stands; empty if there is none.
func unknown(root *cobra.Command, line string) string {
	cmd := root
	for word := range strings.FieldsSeq(line) {
		word = strings.Trim(word, "[],;")
		if flag, isFlag := strings.CutPrefix(word, "--"); isFlag {
			name, _, _ := strings.Cut(flag, "=")
			if cmd.Flag(name) == nil && name != "help" {
				return word
			}
			continue
		}
		if !cmd.HasSubCommands() || strings.HasPrefix(word, "-") || word == "…" {
			continue
		}
		var next *cobra.Command
		for name := range strings.SplitSeq(word, "|") { // one of several
			i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == name || c.HasAlias(name) })
			if i < 0 {
				return word
			}
			next = cmd.Commands()[i]
		}
		cmd = next
	}
	return ""
}

func TestEveryCommandAndFlagInThePagesExists(t *testing.T) {
	t.Parallel()
	root := commandTree(t)
	for line, want := range map[string]string{
		"mailbox list --state unclear -o json": "", "tenant links|list --campaign a": "", "mailbox lst": "lst", "mailbox list --sate x": "--sate",
	} {
		if got := unknown(root, line); got != want {
			t.Fatalf("kindling %s: %q is unknown, want %q", line, got, want)
		}
	}
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commands(string(text)) {
			if word := unknown(root, line); word != "" {
				t.Errorf("%s: kindling %s: there is no %s", page, line, word)
			}
		}
	}
}

func TestEveryTargetOfMakeInThePagesExists(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range makeTarget.FindAllStringSubmatch(string(text), -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: there is no target %s in the Makefile", page, m[1])
			}
		}
	}
}
