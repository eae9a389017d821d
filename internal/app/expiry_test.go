package app

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/config"
)

func TestTheDaysLeftAreThoseOfTheScrape(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	now := time.Date(2026, 11, 27, 23, 0, 0, 0, time.UTC)
	m.expiries.now = func() time.Time { return now }
	h := Host{Metrics: m}
	h.expect(config.App{Name: "main", ClientSecretExpires: []time.Time{now.AddDate(0, 0, 40), now.AddDate(0, 0, -2)}}, proof{})
	h.expect(config.App{Name: "other"}, proof{})
	m.expiries.expect("other", certificatePosition, now.AddDate(0, 0, 3))
	days := func() map[string]float64 {
		found := map[string]float64{}
		for name, v := range gathered(t, registry) {
			if labels, ours := strings.CutPrefix(name, "kindling_client_secret_days_left "); ours {
				found[labels] = v
			}
		}
		return found
	}
	if diff := cmp.Diff(map[string]float64{"main 1": 40, "main 2": -2, "other certificate": 3}, days()); diff != "" {
		t.Error(diff)
	}
	now = now.Add(2 * time.Hour)
	m.expiries.expect("other", certificatePosition, now.AddDate(1, 0, 0)) // a new certificate
	if diff := cmp.Diff(map[string]float64{"main 1": 39, "main 2": -3, "other certificate": 365}, days()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatExpiresSoonIsToldEveryDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newExpiries()
		e.expect("main", "1", time.Now().AddDate(0, 0, 32))
		e.expect("main", "2", time.Now().AddDate(1, 0, 0))
		var log bytes.Buffer
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.remind(ctx, slog.New(slog.NewTextHandler(&log, nil))) }()
		time.Sleep(4*24*time.Hour + time.Hour) // of the bubble's clock
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		var days []string
		for line := range strings.Lines(log.String()) {
			_, left, _ := strings.Cut(line, "days_left=")
			left, _, _ = strings.Cut(left, " ")
			days = append(days, left)
			if !strings.Contains(line, "level=WARN") || !strings.Contains(line, "app=main position=1") {
				t.Errorf("log: %s", line)
			}
		}
		if diff := cmp.Diff([]string{"30", "29", "28"}, days); diff != "" {
			t.Error(diff)
		}
	})
}
