package kindling_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// link matches an inline link or image of Markdown: [words](target), without a title.
var link = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// fenced matches a block of code, in which nothing is a link.
var fenced = regexp.MustCompile("(?ms)^```.*?^```")

func TestEveryRelativeLinkOfThePagesLeadsSomewhere(t *testing.T) {
	t.Parallel()
	found := 0
	for _, page := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(proseOf(t, page), -1) {
			if strings.Contains(match[1], "://") || strings.HasPrefix(match[1], "mailto:") {
				continue
			}
			found++
			if problem := leads(t, page, match[1]); problem != "" {
				t.Errorf("%s links to %s: %s", page, match[1], problem)
			}
		}
	}
	if found == 0 {
		t.Error("no page has a link: the pattern is broken")
	}
}

func TestEveryPageOfAFolderStandsInItsIndex(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"docs/runbooks", "docs/adr"} {
		index := proseOf(t, filepath.Join(folder, "README.md"))
		files, err := filepath.Glob(filepath.Join(folder, "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			if name != "README.md" && !strings.Contains(index, "]("+name+")") {
				t.Errorf("%s is not linked from %s/README.md", file, folder)
			}
		}
		if len(files) < 2 {
			t.Errorf("%s holds no pages", folder)
		}
	}
}

// pages lists every Markdown file of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// leads returns why target, as it stands in page, leads nowhere; empty if it leads somewhere.
func leads(t *testing.T, page, target string) string {
	t.Helper()
	path, anchor, _ := strings.Cut(target, "#")
	file := page
	if path != "" {
		file = filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "no such file"
	case anchor == "":
		return ""
	case info.IsDir() || !slices.Contains(anchors(proseOf(t, file)), anchor):
		return "no such heading"
	}
	return ""
}

// anchors are the fragments under which GitHub makes a page's headings reachable.
func anchors(page string) []string {
	var found []string
	for line := range strings.Lines(page) {
		words, isHeading := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !strings.HasPrefix(line, "#") || !isHeading {
			continue
		}
		found = append(found, strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case c == '-', c == '_', unicode.IsLetter(c), unicode.IsDigit(c):
				return unicode.ToLower(c)
			}
			return -1
		}, strings.TrimSpace(words)))
	}
	return found
}

func proseOf(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return fenced.ReplaceAllString(string(text), "")
}
