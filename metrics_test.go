package kindling_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"kindling/internal/app"
)

const rulesFile = "deployments/prometheus-rules.yaml"

// rule is one alarm of the rules file.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	data, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// described collects what a process registers.
type described struct{ names map[string][]string } // metric → its labels

var descPattern = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

func (d described) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	for desc := range descs {
		if m := descPattern.FindStringSubmatch(desc.String()); m != nil {
			d.names[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })
		}
	}
	return nil
}

func (d described) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = d.Register(c)
	}
}

func (described) Unregister(prometheus.Collector) bool { return false }

// metrics returns every metric of Kindling's processes with its labels.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	d := described{map[string][]string{}}
	app.NewMetrics(d)
	if len(d.names) < 10 {
		t.Fatalf("only %d metrics are registered: the pattern is broken", len(d.names))
	}
	return d.names
}

var (
	metricName = regexp.MustCompile(`\bkindling_[a-z0-9_]+\b`)
	matcher    = regexp.MustCompile(`\b(kindling_[a-z0-9_]+)\{([a-z]+)[=!~]`)
	histogram  = regexp.MustCompile(`_(bucket|sum|count)$`)
)

func known(registered map[string][]string, name string) bool {
	_, plain := registered[name]
	_, parts := registered[histogram.ReplaceAllString(name, "")]
	return plain || parts
}

func TestEveryMetricInTheAlarmsAndThePagesExists(t *testing.T) {
	t.Parallel()
	registered := metrics(t)
	for _, file := range append(pages(t), rulesFile) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			if !known(registered, name) {
				t.Errorf("%s speaks of %s, which no process has", file, name)
			}
		}
		for _, m := range matcher.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(registered[histogram.ReplaceAllString(m[1], "")], m[2]) {
				t.Errorf("%s selects %s by %s, which is none of its labels", file, m[1], m[2])
			}
		}
	}
}

func TestEveryMetricIsExplainedInTheManual(t *testing.T) {
	t.Parallel()
	manual := proseOf(t, "docs/operator/manual.md")
	for name := range metrics(t) {
		if !strings.Contains(manual, "`"+name+"`") {
			t.Errorf("%s is not in docs/operator/manual.md", name)
		}
	}
}

func TestEveryAlarmHasItsRunbookAndEveryRunbookItsAlarm(t *testing.T) {
	t.Parallel()
	alarmed := map[string]bool{}
	seen := map[string]bool{}
	for _, r := range rules(t) {
		page := r.Annotations["runbook"]
		if _, err := os.Stat(page); err != nil {
			t.Errorf("%s names the runbook %q: %v", r.Alert, page, err)
		}
		if r.Expr == "" || r.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) || seen[r.Alert] {
			t.Errorf("incomplete or doubled: %+v", r)
		}
		if !metricName.MatchString(r.Expr) {
			t.Errorf("%s watches no metric of ours: %s", r.Alert, r.Expr)
		}
		alarmed[page], seen[r.Alert] = true, true
	}
	books, err := filepath.Glob("docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, book := range books {
		if filepath.Base(book) != "README.md" && !alarmed[book] {
			t.Errorf("%s has no alarm in %s", book, rulesFile)
		}
	}
}
