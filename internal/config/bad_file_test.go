package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
)

const compare = " (compare with deployments/kindling.example.yaml)"

// What is no readable table of known keys is refused as a file, with the line where there is one.
func TestFilesThatAreNoConfigurationAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "kindling.yaml: the file is empty (start from deployments/kindling.example.yaml)"},
		"only comments":     {"# nothing\n\n", "kindling.yaml: the file is empty (start from deployments/kindling.example.yaml)"},
		"only null":         {"~\n", "kindling.yaml: the file is empty (start from deployments/kindling.example.yaml)"},
		"not YAML":          {"edge: {listen: \":1\"\n", "kindling.yaml: the file is not YAML: line 1: did not find expected ',' or '}'" + compare},
		"JSON cut off":      {"{\"edge\": [", "kindling.yaml: the file is not YAML: line 1: did not find expected node content" + compare},
		"a colon too many":  {"edge: listen: x\n", "kindling.yaml: the file is not YAML: mapping values are not allowed in this context" + compare},
		"a sentence":        {"see the wiki\n", "kindling.yaml:1: is a single value, not a table of keys (write key: value lines)"},
		"a list":            {"- edge\n", "kindling.yaml:1: is a list, not a table of keys (write key: value lines)"},
		"tabs":              {"edge:\n\tlisten: \":1\"\n", "kindling.yaml: the file is indented with a tab in line 2 (use spaces)"},
		"a tab in between":  {"edge:\n  \t listen: \":1\"\n", "kindling.yaml: the file is indented with a tab in line 2 (use spaces)"},
		"two documents":     {"edge: {}\n---\nedge: {}\n", "kindling.yaml: the file holds more than one document, or signs after the end of the first (keep one, without --- between)"},
		"bad UTF-8":         {"edge: {listen: \"\xff\"}\n", "kindling.yaml: the file is not UTF-8 text (save it as UTF-8)"},
		"UTF-16":            {"\xff\xfee\x00d\x00", "kindling.yaml: the file is not UTF-8 text (save it as UTF-8)"},
		"a NUL":             {"edge: {}\x00\n", "kindling.yaml: the file is not UTF-8 text (save it as UTF-8)"},
		"10 MB":             {strings.Repeat("# filler\n", 10<<20/9), "kindling.yaml: the file is larger than 1024 KB (check the path)"},
		"an alias bomb":     {"a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n", "kindling.yaml:1: the file uses an anchor or an alias (write the value out)"},
		"an unknown alias":  {"edge: *x\n", "kindling.yaml: the file is not YAML: unknown anchor 'x' referenced" + compare},
		"a merge":           {"edge: &e {}\nconsole: {<<: *e}\n", "kindling.yaml:1: the file uses an anchor or an alias (write the value out)"},
		"deep nesting":      {strings.Repeat("[", 20_000), "kindling.yaml: the file is not YAML: exceeded max depth of 10000" + compare},
		"unknown section":   {"edeg: {}\n", "kindling.yaml:1: edeg: is no known key (did you mean edge?)"},
		"unknown key":       {"edge:\n  public_ur: x\n", "kindling.yaml:2: edge.public_ur: is no known key (did you mean edge.public_url?)"},
		"other letter case": {"edge: {PublicURL: x}\n", "kindling.yaml:1: edge.PublicURL: is no known key (did you mean edge.public_url?)"},
		"no likeness": {
			"edge: {colour: red}\n", "kindling.yaml:1: edge.colour: is no known key (known are edge.listen, edge.public_url, edge.metrics_listen, " +
				"edge.response_mode, edge.link_life, edge.start_prompt, edge.requests_per_second)",
		},
		"a key at the top":    {"public_url: x\n", "kindling.yaml:1: public_url: is no known key (did you mean edge.public_url?)"},
		"unknown key of item": {"apps: [{name: main, client_secrets: [x]}]\n", "kindling.yaml:1: apps.main.client_secrets: is no known key (did you mean apps.main.client_secret?)"},
		"a key in escapes":    {"\"\\e[31mx\": 1\n", "kindling.yaml:1: \"\\x1b[31mx\": is no known key (known are nats, edge, console, metrics, keys, apps, accounts, defaults, policy)"},
		"duplicate key":       {"edge:\n  listen: \":1\"\n  listen: \":2\"\n", "kindling.yaml:3: edge.listen: stands here a second time, first in line 2 (keep one)"},
		"duplicate section":   {"edge: {}\nedge: {}\n", "kindling.yaml:2: edge: stands here a second time, first in line 1 (keep one)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, c.text, nil)
			if diff := cmp.Diff([]string{c.want}, lines(t, err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPathsThatLeadToNoFileAreRefused(t *testing.T) {
	t.Parallel()
	file := write(t, "plain", "edge: {}\n")
	for name, c := range map[string]struct{ path, want string }{
		"missing":    {file + ".no", ": the file does not exist (check the path)"},
		"unreadable": {file + "/x", ": the file cannot be read: not a directory (check its owner and mode)"},
		"directory":  {t.TempDir(), ": the file is a directory (name a file)"},
		"device":     {os.DevNull, ": the file is not a regular file (name a file)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(config.Source{File: c.path})
			if err == nil || err.Error() != c.path+c.want {
				t.Errorf("error = %v, want %s", err, c.path+c.want)
			}
		})
	}
}

// A file that someone named must exist; the default one may be absent.
func TestOnlyTheDefaultFileMayBeAbsent(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := config.Load(config.Source{}); err != nil {
		t.Errorf("without any file: %v", err)
	}
	if _, err := config.Load(config.Source{Environ: []string{"KINDLING_CONFIG=absent.yaml"}}); err == nil {
		t.Error("an absent file named by KINDLING_CONFIG passes")
	}
	if err := os.WriteFile(config.DefaultFile, []byte("edge: {listen: \":7\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := config.Load(config.Source{}); err != nil || cfg.Edge.Listen != ":7" {
		t.Errorf("edge = %+v, %v, want the default file read", cfg.Edge, err)
	}
}

// All problems are told in one run, in the order of the file and then of the keys.
func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load(t, `
edge:
  listen: ":70000"
  public_url: http://connect.example.com/x?y=1
  lnk_life: 10
apps:
  - {name: "My App", client_id: hunter2-secret, tenant: commmon}
  - {client_id: 6731de76-14a6-49ae-97bc-6eba6914391e, client_secret: canary-7f3a}
  - {name: main, cloud: publik}
  - {name: main, cloud: public}
accounts:
  - {name: main, base_url: "https://api.warmy.com", calls_per_minute: 61}
policy: {max_attempts: 0, retry_base: 3}
`, []string{"KINDLING_EDGE_PUBLIC_UR=x", "KINDLING_POLICY_RETRY_CAP=-5s"})
	want := []string{
		"kindling.yaml:5: edge.lnk_life: is no known key (did you mean edge.link_life?)",
		"kindling.yaml:8: apps.#2.name: is missing (give the item a name)",
		"kindling.yaml:8: apps.#2.client_secret: a secret stands in the configuration file (put it into a file of its own and name that in apps.#2.client_secret_file, then replace the secret: it may have been copied)",
		"kindling.yaml:10: apps.main: the name stands here a second time, first in line 9 (rename one)",
		"KINDLING_EDGE_PUBLIC_UR: is no known variable (did you mean KINDLING_EDGE_PUBLIC_URL?)",
		"kindling.yaml:3: edge.listen = \":70000\": has no port between 0 and 65535 (write as in :8080; port 0 takes any free one)",
		"kindling.yaml:4: edge.public_url: has a query or a fragment (end it after the host)",
		"kindling.yaml:7: apps.#1.name = \"My App\": is not a valid name (use at most 32 lower-case letters, digits and hyphens between them)",
		"kindling.yaml:7: apps.#1.tenant = \"commmon\": is not organizations, common, consumers, a GUID or a domain (did you mean common?)",
		"kindling.yaml:9: apps.main.cloud = \"publik\": is not one of public, usgov, usgov-dod, china (did you mean public?)",
		"kindling.yaml:13: policy.retry_base = \"3\": has no unit (write 10s, 10m or 10h)",
		"KINDLING_POLICY_RETRY_CAP: policy.retry_cap = \"-5s\": is not between 10ms and 6h",
		"kindling.yaml:13: policy.max_attempts = \"0\": is not between 1 and 1000",
		"kindling.yaml:7: apps.#1.client_id: is not a GUID (copy \"Application (client) ID\" from the app's overview in Azure)",
		"kindling.yaml:12: accounts.main.base_url = \"https://api.warmy.com\": is not Warmy's host, and whoever answers there gets the API key (write https://api.warmy.io, or leave it out; for a simulator set accounts.main.allow_custom_host: true)",
		"kindling.yaml:12: accounts.main.calls_per_minute = \"61\": is over Warmy's own limit of 60 (write at most 60)",
	}
	if diff := cmp.Diff(want, lines(t, err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, canary := range []string{"canary", "hunter2"} {
		if strings.Contains(err.Error(), canary) {
			t.Errorf("the error shows %s", canary)
		}
	}
}
