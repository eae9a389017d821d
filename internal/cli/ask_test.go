package cli

import (
	"bytes"
	"strings"
	"testing"

	"kindling/internal/service"
)

func TestALargeCountMustBeTyped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		count  int
		answer string
		ok     bool
	}{
		{5, "y\n", true},
		{5, "YES\n", true},
		{5, "\n", false},
		{5, "n\n", false},
		{5, "", false},
		{5, "y", true},
		{500, "y\n", false},
		{500, "500\n", true},
		{500, "50\n", false},
	} {
		var talk bytes.Buffer
		s := &shell{interactive: true, env: service.Env{Stdin: strings.NewReader(c.answer), Stderr: &talk}}
		if err := s.confirm(bulkVerb{verb: "replay", noun: "dead letters"}, c.count); (err == nil) != c.ok {
			t.Errorf("%d %q: %v", c.count, c.answer, err)
		}
	}
}

func TestColourIsForTerminalsOnly(t *testing.T) {
	t.Parallel()
	for _, colour := range []bool{true, false} {
		var out bytes.Buffer
		s := &shell{colour: colour, output: formatTable, env: service.Env{Stdout: &out}}
		if err := s.print(sheet{header: []string{"state"}, rows: [][]string{{"dead"}}}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "\x1b[31mdead"); got != colour {
			t.Errorf("colour %v: %q", colour, out.String())
		}
	}
}
