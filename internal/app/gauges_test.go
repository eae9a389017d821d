package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/fault"
)

// figures are a source of figures that counts its readings.
type figures struct {
	readings int
	read     func(ctx context.Context) (bus.Figures, error)
}

func (f *figures) Read(ctx context.Context) (bus.Figures, error) {
	f.readings++
	return f.read(ctx)
}

// scraped is one scrape: every series with its value.
func scraped(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			series[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return series
}

func TestAScrapeWithoutNATSEndsInTimeAndTellsNoOldFigures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		m := NewMetrics(registry)
		gone := false
		source := &figures{read: func(ctx context.Context) (bus.Figures, error) {
			if gone {
				<-ctx.Done() // NATS does not answer
				return bus.Figures{}, ctx.Err()
			}
			return bus.Figures{Lanes: []bus.LaneFigures{{Lane: events.Code, Leg: "main", Pending: 7, Ready: 7}}}, nil
		}}
		m.gauges.follow(source, true)
		for range 3 {
			if s := scraped(t, registry); s["kindling_work_ready{code,main}"] != 7 || s["kindling_bus_up{}"] != 1 {
				t.Fatalf("scraped %v", s)
			}
		}
		if source.readings != 1 {
			t.Errorf("three scrapes in a row read %d times", source.readings)
		}
		gone = true
		time.Sleep(gaugesLife)
		began := time.Now()
		s := scraped(t, registry)
		if took := time.Since(began); took != gaugesTime {
			t.Errorf("the scrape took %v", took)
		}
		if _, old := s["kindling_work_ready{code,main}"]; old || s["kindling_bus_up{}"] != 0 {
			t.Errorf("scraped %v", s)
		}
	})
}

func TestInOneProcessTheWidestFiguresAreReadAlone(t *testing.T) {
	t.Parallel()
	source := func(name string) *figures {
		return &figures{read: func(context.Context) (bus.Figures, error) {
			return bus.Figures{Lanes: []bus.LaneFigures{{Lane: events.Code, Leg: name}}}, nil
		}}
	}
	for _, order := range [][]bool{{true, false, false}, {false, true, false}, {false, false, true}} {
		registry := prometheus.NewRegistry()
		m := NewMetrics(registry)
		for _, widest := range order {
			m.gauges.follow(source(map[bool]string{true: "console", false: "worker"}[widest]), widest)
		}
		if s := scraped(t, registry); len(s) == 0 || !has(s, "kindling_lane_pending{code,console}") || has(s, "kindling_lane_pending{code,worker}") {
			t.Errorf("in the order %v: %v", order, s)
		}
	}
}

func has(series map[string]float64, name string) bool {
	_, ok := series[name]
	return ok
}

func TestTheFiguresOfARealStoreCanBeScraped(t *testing.T) {
	t.Parallel()
	h := NewHost(config.Config{}, slog.New(slog.DiscardHandler))
	b := bustest.New(t)
	if err := b.Legs().Hold(t.Context(), "warmy/main", "maintenance", "op"); err != nil {
		t.Fatal(err)
	}
	h.Metrics.gauges.follow(b.Gauges(bus.GaugeScope{Apps: []string{"main"}, Accounts: []string{"main"}, Store: true}), true)
	s := scraped(t, h.Registry)
	want := map[string]float64{
		"kindling_bus_up{}": 1, "kindling_leg_state{warmy/main,held}": 1, "kindling_leg_state{warmy/main,open}": 0,
		"kindling_leg_state{microsoft/main,open}": 1, "kindling_stream_messages{KV_control}": 1,
	}
	for name, v := range want {
		if got, ok := s[name]; !ok || got != v {
			t.Errorf("%s is %v, want %v", name, got, v)
		}
	}
	if fill := s["kindling_stream_fill_ratio{KV_control}"]; fill <= 0 || fill > 0.01 {
		t.Errorf("the fill of the control bucket is %v", fill)
	}
}

type handled struct{ err error }

func (h handled) Handle(context.Context, events.Event) ([]events.Event, error) { return nil, h.err }

func (handled) Bury(context.Context, events.Event, *fault.Fault) error { return nil }

func TestTheLifeThatACodeHasLeftIsRecordedWhenItsRedeemBegins(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	now := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	broken := errors.New("broken")
	h := codeLife{handled{broken}, m.codeLife, func() time.Time { return now }}
	for _, left := range []time.Duration{100 * time.Second, -time.Minute} {
		if _, err := h.Handle(t.Context(), events.Event{Deadline: now.Add(left)}); !errors.Is(err, broken) {
			t.Errorf("the handler's error became %v", err)
		}
	}
	_, _ = h.Handle(t.Context(), events.Event{}) // without a deadline nothing is known
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "kindling_code_life_left_seconds" {
			if sum := f.GetMetric()[0].GetHistogram(); sum.GetSampleCount() != 2 || sum.GetSampleSum() != 100 {
				t.Errorf("recorded %v", sum)
			}
			return
		}
	}
	t.Error("nothing is recorded")
}
