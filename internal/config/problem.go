package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// exitConfig is EX_CONFIG of sysexits.h: service.ExitConfig, which this package may not import.
const exitConfig = 78

// Problem is one thing that keeps a process from starting, or one it warns of.
type Problem struct {
	Key    string // such as apps.main.client_id, or a variable's name
	Value  string // only if it is harmless to print
	Where  string // FILE:LINE, variable or "flag"; empty when nothing was set
	Reason string
	Remedy string
}

// String is the problem in one line: where: key = "value": reason (remedy).
func (p Problem) String() string {
	var b strings.Builder
	if p.Where != "" && p.Where != p.Key {
		b.WriteString(p.Where + ": ")
	}
	if p.Key != "" {
		b.WriteString(printable(p.Key))
		if p.Value != "" {
			b.WriteString(" = " + strconv.Quote(p.Value))
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Reason)
	if p.Remedy != "" {
		b.WriteString(" (" + p.Remedy + ")")
	}
	return b.String()
}

// printable keeps a key that nobody knows from writing to the terminal what it likes.
func printable(key string) string {
	const longest = 80
	if q := strconv.QuoteToASCII(key); len(key) > longest || q != `"`+key+`"` {
		return q[:min(len(q), longest)]
	}
	return key
}

// Invalid is the error of a configuration with problems; it holds all of them.
type Invalid struct{ Problems []Problem } //nolint:errname // it reads as config.Invalid

// Error lists the problems, one per line.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// ExitCode is the exit code for a wrong configuration, 78.
func (e *Invalid) ExitCode() int { return exitConfig }

// problems collects what is wrong. A key is reported once: what follows from its fault is noise.
type problems struct {
	list []Problem
	seen map[string]bool
}

func (p *problems) add(found Problem) {
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	if found.Key != "" && p.seen[found.Key] {
		return
	}
	p.seen[found.Key] = true
	p.list = append(p.list, found)
}

// bad reports whether key has been reported.
func (p *problems) bad(keys ...string) bool {
	for _, key := range keys {
		if p.seen[key] {
			return true
		}
	}
	return false
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &Invalid{Problems: p.list}
}

// note is a verdict on a value: what is wrong and what to do.
type note struct{ reason, remedy string }

// harmless returns value if it may be printed: short, and no URL with something behind the host's address or before it.
func harmless(value string) string {
	const longest = 80
	if len(value) > longest || strings.ContainsAny(value, "@?#") || !utf8.ValidString(value) {
		return ""
	}
	return value
}

// suggest names the candidate that word was probably meant to be, as a remedy, or says what else to do. Both are
// compared without prefix, which they share, and without regard to letter case, hyphens and underscores.
func suggest(word, prefix string, candidates []string, otherwise string) string {
	bare := fold(strings.TrimPrefix(word, prefix))
	best, distance := "", len(bare)/3+1
	for _, c := range candidates {
		if d := edits(bare, fold(strings.TrimPrefix(c, prefix))); d < distance {
			best, distance = c, d
		}
	}
	if best == "" {
		return otherwise
	}
	return "did you mean " + best + "?"
}

func fold(word string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(word))
}

// edits is the least number of letters to insert, delete, replace or swap that turn a into b.
func edits(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(last[j]+cost, last[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}
