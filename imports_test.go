package kindling_test

import (
	"go/build"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layer is a row of the table in docs/design.md: which of our own packages a package may import, and which modules.
// "std" stands for the standard library alone.
type layer struct {
	packages []string
	ours     []string
	modules  []string
}

var (
	leaf = []string{"internal/events", "internal/fault", "internal/secret", "internal/leg"}
	core = append(slices.Clone(leaf), "internal/mailbox", "internal/campaign", "internal/campaign/sample")
	// adaptors are the adaptors with what they stand on: what a package that may see every adaptor may import.
	adaptors = append(slices.Clone(core), "internal/handlers", "internal/bus", "internal/bus/embed", "internal/microsoft", "internal/warmy",
		"internal/seal", "internal/callback", "internal/console", "internal/console/roster", "internal/config", "internal/service")
)

var layers = []layer{
	{packages: leaf},
	{packages: []string{"internal/mailbox", "internal/campaign", "internal/campaign/sample"}, ours: append(slices.Clone(leaf), "internal/campaign")},
	{packages: []string{"internal/handlers"}, ours: append(slices.Clone(leaf), "internal/mailbox")},
	{
		packages: []string{"internal/bus"}, ours: append(slices.Clone(core), "internal/handlers"),
		modules: []string{"github.com/nats-io/nats.go", "github.com/nats-io/nuid", "github.com/ThreeDotsLabs/watermill", "github.com/sony/gobreaker/v2"},
	},
	{packages: []string{"internal/bus/embed"}, modules: []string{"github.com/nats-io/nats-server/v2"}},
	{packages: []string{"internal/bus/users"}, ours: []string{"internal/bus"}, modules: []string{"github.com/nats-io/nkeys"}},
	{
		packages: []string{"internal/bus/bustest"}, ours: []string{"internal/bus", "internal/bus/embed", "internal/bus/users"},
		modules: []string{"github.com/nats-io/nats-server/v2"},
	},
	{
		packages: []string{"internal/microsoft"}, ours: append(slices.Clone(core), "internal/handlers"),
		modules: []string{"golang.org/x/oauth2", "github.com/coreos/go-oidc/v3", "github.com/go-jose/go-jose/v4", "github.com/google/uuid"},
	},
	{packages: []string{"internal/warmy"}, ours: append(slices.Clone(core), "internal/handlers")},
	{packages: []string{"internal/seal"}, ours: core, modules: []string{"github.com/tink-crypto/tink-go/v2", "google.golang.org/protobuf"}},
	{packages: []string{"internal/callback"}, ours: append(slices.Clone(core), "internal/handlers"), modules: []string{"golang.org/x/time", "golang.org/x/oauth2"}},
	{
		packages: []string{"internal/console", "internal/console/roster"},
		ours:     append(slices.Clone(core), "internal/handlers", "internal/console/roster"), modules: []string{"go.yaml.in/yaml/v3", "golang.org/x/sync"},
	},
	{
		packages: []string{"internal/console/consoletest"}, // a world in memory for tests of the console and the command line
		ours:     append(slices.Clone(core), "internal/handlers", "internal/console", "internal/console/roster"),
	},
	{packages: []string{"internal/config"}, ours: core, modules: []string{"github.com/knadh/koanf", "go.yaml.in/yaml/v3"}},
	{packages: []string{"internal/service"}, ours: append(slices.Clone(leaf), "internal/config"), modules: []string{"github.com/prometheus/client_golang", "golang.org/x/sys"}},
	{packages: []string{"internal/app"}, ours: adaptors, modules: []string{"github.com/prometheus/client_golang", "golang.org/x/sync"}},
	{packages: []string{"internal/doctor"}, ours: append(slices.Clone(adaptors), "internal/app")},
	{
		packages: []string{"internal/sim", "internal/sim/msid", "internal/sim/warmyapi", "internal/sim/crowd", "internal/sim/trouble", "internal/sim/journal"},
		ours: []string{
			"internal/secret", "internal/service", "internal/sim", "internal/sim/msid", "internal/sim/warmyapi", "internal/sim/crowd",
			"internal/sim/trouble", "internal/sim/journal",
		},
		modules: []string{"github.com/go-jose/go-jose/v4", "golang.org/x/net", "golang.org/x/sync"},
	},
}

// simOnly are the packages that may import the simulators outside tests: what ships to an operator's workers holds none.
var simOnly = []string{"internal/sim", "internal/sandbox", "internal/bench", "internal/e2e", "cmd/simulator"}

func TestImportsFollowTheTableOfLayers(t *testing.T) {
	t.Parallel()
	for _, l := range layers {
		for _, pkg := range l.packages {
			if !hasGo(t, pkg) {
				t.Errorf("%s is gone: take it out of the table in imports_test.go and in docs/design.md", pkg)
				continue
			}
			for _, imported := range importsOf(t, pkg) {
				if !allowed(l, imported) {
					t.Errorf("%s imports %s, which its layer may not (docs/design.md, \"The house\")", pkg, imported)
				}
			}
		}
	}
}

func TestEveryPackageStandsInTheTable(t *testing.T) {
	t.Parallel()
	var known []string
	for _, l := range layers {
		known = append(known, l.packages...)
	}
	shell := []string{"internal/cli", "internal/sandbox", "internal/bench", "internal/e2e"} // may import everything
	for _, pkg := range shell {
		if !hasGo(t, pkg) {
			t.Errorf("%s is gone", pkg)
		}
	}
	known = append(known, shell...)
	err := filepath.WalkDir("internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || !hasGo(t, path) {
			return err
		}
		if !slices.Contains(known, filepath.ToSlash(path)) {
			t.Errorf("%s has no layer: add it to the table in imports_test.go and in docs/design.md", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheBusSpeaksNATSAndOnlyTheSandboxSimulates(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() || !hasGo(t, path) {
				return err
			}
			pkg := filepath.ToSlash(path)
			for _, imported := range importsOf(t, pkg) {
				nats := strings.HasPrefix(imported, "github.com/nats-io/") || strings.HasPrefix(imported, "github.com/ThreeDotsLabs/")
				if nats && !strings.HasPrefix(pkg, "internal/bus") && pkg != "internal/bench" {
					t.Errorf("%s imports %s: only internal/bus speaks NATS", pkg, imported)
				}
				simulator := strings.HasPrefix(imported, "kindling/internal/sim")
				if simulator && !slices.ContainsFunc(simOnly, func(p string) bool { return strings.HasPrefix(pkg, p) }) {
					t.Errorf("%s imports %s: simulators are for tests and the sandbox", pkg, imported)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func allowed(l layer, imported string) bool {
	if ours, ok := strings.CutPrefix(imported, "kindling/"); ok {
		return slices.Contains(l.ours, ours)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(l.modules, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") })
}

func importsOf(t *testing.T, pkg string) []string {
	t.Helper()
	p, err := build.ImportDir(pkg, 0)
	if err != nil {
		t.Fatalf("read %s: %v", pkg, err)
	}
	return p.Imports
}

func hasGo(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(f string) bool { return !strings.HasSuffix(f, "_test.go") })
}
