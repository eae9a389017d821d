package kindling_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var nolint = regexp.MustCompile(`//nolint:([a-z,]+)`)

// nolintlint is silent about a linter that does not run, so a directive for one would stay for ever.
func TestEveryNolintNamesALinterThatRuns(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(".golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Linters struct {
			Enable []string `yaml:"enable"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, root := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range nolint.FindAllStringSubmatch(string(text), -1) {
				for name := range strings.SplitSeq(m[1], ",") {
					if found++; !slices.Contains(file.Linters.Enable, name) {
						t.Errorf("%s: //nolint:%s, which does not run", path, name)
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("no directive was found: the pattern is broken")
	}
}
