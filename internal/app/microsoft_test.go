package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/microsoft"
)

// counted is the value of every counter of one name, by its labels.
func counted(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			values[strings.Join(labels, ",")] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestMicrosoftsAnswersAreCountedByCallAndOutcome(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	w := newMicrosoftWatch(NewMetrics(registry), slog.New(slog.DiscardHandler))
	w.Answered(microsoft.CallRedeem, microsoft.OutcomeOK, time.Second)
	w.Answered(microsoft.CallRedeem, microsoft.OutcomeOK, time.Second)
	w.Answered(microsoft.CallKeys, microsoft.OutcomeOutage, time.Second)
	want := map[string]float64{"redeem,ok": 2, "keys,outage": 1}
	for _, name := range []string{"kindling_microsoft_answers_total", "kindling_microsoft_seconds"} {
		if diff := cmp.Diff(want, counted(t, registry, name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// The set of Microsoft's numbers is open: they are logged, once each and not without end, and are no label.
func TestUnknownNumbersAreLoggedOnceAndBounded(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	var log bytes.Buffer
	w := newMicrosoftWatch(NewMetrics(registry), slog.New(slog.NewJSONHandler(&log, nil)))
	for range 3 {
		for number := range 2 * mostNumbers {
			w.Unknown("invalid_grant", 99000000+number)
		}
	}
	if lines := strings.Count(log.String(), "microsoft_answer_unknown"); lines != mostNumbers {
		t.Errorf("%d lines, want %d", lines, mostNumbers)
	}
	if !strings.Contains(log.String(), `"aadsts":99000007`) {
		t.Error("the number is not said")
	}
	if diff := cmp.Diff(map[string]float64{"invalid_grant": 6 * mostNumbers}, counted(t, registry, "kindling_microsoft_unknown_total")); diff != "" {
		t.Error(diff)
	}
}

func TestConsentsThatAreMixedUpRaiseAnAlarm(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := newMicrosoftWatch(NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewJSONHandler(&log, nil)))
	w.Answered(microsoft.CallRedeem, microsoft.OutcomeMixedUp, time.Second)
	if !strings.Contains(log.String(), `"level":"ERROR","msg":"consents_mixed_up"`) {
		t.Errorf("logged %s", log.String())
	}
}
