package app

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/config"
	"kindling/internal/events"
)

// exported are the label sets of every series of a scrape, by metric.
func exported(t *testing.T, registry *prometheus.Registry) map[string][]map[string]string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string][]map[string]string{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			series[f.GetName()] = append(series[f.GetName()], labels)
		}
	}
	return series
}

// servedStore is a host whose gauges read a store in which the lanes of one app and one account are served.
func servedStore(t *testing.T) Host {
	t.Helper()
	h, b := NewHost(config.Config{}, slog.New(slog.DiscardHandler)), bustest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	var lanes []bus.Lane
	for _, lane := range []events.Lane{events.Code, events.Refresh, events.Register, events.Reconcile} {
		lanes = append(lanes, bus.Lane{Lane: lane, Leg: "main", Window: 1, Policy: workPolicy(config.Policy{MaxAttempts: 1}), Handler: handled{}})
	}
	go func() { served <- b.Serve(ctx, bus.ServeConfig{}, lanes...) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	g := b.Gauges(bus.GaugeScope{Apps: []string{"main"}, Accounts: []string{"main"}, Store: true})
	soon, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for f, err := g.Read(soon); len(f.Lanes) < len(lanes); f, err = g.Read(soon) {
		select {
		case <-tick.C:
		case <-soon.Done():
			t.Fatalf("the lanes have no figures: %+v, %v", f.Lanes, err)
		}
	}
	h.Metrics.gauges.follow(g, true)
	h.Metrics.listingsOf("main")
	return h
}

var (
	selector = regexp.MustCompile(`\b(kindling_[a-z0-9_]+)\{([^}]*)\}`)
	match    = regexp.MustCompile(`([a-z]+)(=~|=)"([^"]*)"`)
	renaming = regexp.MustCompile(`label_replace\(.*\b(kindling_[a-z0-9_]+).*, "[a-z]+", "\$1", "([a-z]+)", "([^"]*)"\)`)
)

// selects reports whether every one of the matchers accepts the series.
func selects(matchers string, series map[string]string) bool {
	for _, m := range match.FindAllStringSubmatch(matchers, -1) {
		want := m[3]
		if m[2] == "=" {
			want = regexp.QuoteMeta(want)
		}
		if !regexp.MustCompile("^(?:" + want + ")$").MatchString(series[m[1]]) {
			return false
		}
	}
	return true
}

// An alarm that selects by a value which no process exports is silent for ever.
func TestEveryAlarmSelectsSeriesThatAreExported(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../deployments/prometheus-rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	series := exported(t, servedStore(t).Registry)
	if !slices.ContainsFunc(series["kindling_work_ready"], func(s map[string]string) bool { return s["lane"] == "register" }) {
		t.Fatalf("nothing is known of the lanes: %v", slices.Collect(maps.Keys(series)))
	}
	for _, m := range selector.FindAllStringSubmatch(string(rules), -1) {
		name, matchers := m[1], m[2]
		if len(series[name]) > 0 && !slices.ContainsFunc(series[name], func(s map[string]string) bool { return selects(matchers, s) }) {
			t.Errorf("%s{%s} selects none of %v", name, matchers, series[name])
		}
	}
	replaced := renaming.FindAllStringSubmatch(string(rules), -1)
	for _, m := range replaced {
		name, label, pattern := m[1], m[2], m[3]
		if !slices.ContainsFunc(series[name], func(s map[string]string) bool { return selects(label+`=~"`+pattern+`"`, s) }) {
			t.Errorf("label_replace by %s of %s: %q fits none of %v", label, name, pattern, series[name])
		}
	}
	if len(replaced) != strings.Count(string(rules), "label_replace(") {
		t.Error("a label_replace is written as this test does not read it")
	}
}
