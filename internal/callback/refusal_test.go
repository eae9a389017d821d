package callback

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryRefusalSaysWhatHappenedAndWhatToDo(t *testing.T) {
	t.Parallel()
	var names, titles []string
	for _, k := range refusals() {
		if k.title == "" || len(k.lines) != 2 || k.status < 200 || !slices.Contains([]string{"stop", "good"}, k.tone) {
			t.Errorf("%s: %+v", k.name, k)
		}
		for _, line := range k.lines {
			if len(line) < 20 || !strings.HasSuffix(line, ".") || strings.Contains(line, "%") {
				t.Errorf("%s: %q is no sentence", k.name, line)
			}
		}
		names, titles = append(names, k.name), append(titles, k.title)
	}
	slices.Sort(names)
	slices.Sort(titles)
	if len(slices.Compact(names)) != len(refusals()) {
		t.Error("two refusals have one name")
	}
	if n := len(slices.Compact(titles)); n < len(refusals())-1 { // two of them are of one kind for an owner
		t.Errorf("%d titles for %d refusals", n, len(refusals()))
	}
}
