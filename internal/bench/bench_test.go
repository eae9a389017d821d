package bench

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"kindling/internal/service"
)

// TestMain lets this binary play the processes that a bench starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		service.Main("kindling", func(ctx context.Context, env service.Env) error {
			cmd := Command(env) //nolint:contextcheck // cobra hands it on
			cmd.SetArgs(env.Args[1:])
			return cmd.ExecuteContext(ctx)
		})
	}
	m.Run()
}

// small are flags with which everything is quick and nothing is refused.
func small() options {
	return options{
		env: service.Env{Stdout: io.Discard, Stderr: io.Discard}, mailboxes: 1, rounds: 1, rows: 1, edgeTime: time.Second, edgeRate: 1, forged: 1, window: 64, sync: bothSyncs,
	}
}

func TestFlagsThatLeaveNothingToMeasureAreRefusedByName(t *testing.T) {
	t.Parallel()
	for flag, spoil := range map[string]func(*options){
		"--mailboxes": func(o *options) { o.mailboxes = 0 },
		"--rounds":    func(o *options) { o.rounds = 0 },
		"--rows":      func(o *options) { o.rows = -1 },
		"--edge-rate": func(o *options) { o.edgeRate = 2_000_000_000 },
		"--forged":    func(o *options) { o.forged = 0 },
		"--edge-time": func(o *options) { o.edgeTime = 0 },
		"--window":    func(o *options) { o.window = 0 },
		"--sync":      func(o *options) { o.sync = "sometimes" },
		"--only":      func(o *options) { o.only = []string{"publish", "publsh"} },
	} {
		o := small()
		if err := o.check([]string{"bus"}); err != nil {
			t.Fatalf("good flags are refused: %v", err)
		}
		spoil(&o)
		if err := o.check([]string{"bus"}); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}

func TestAPartOfAnotherBenchIsRefused(t *testing.T) {
	t.Parallel()
	for bench, parts := range map[string]struct{ own, other []string }{
		"bus":   {busParts(), warmyParts()},
		"warmy": {warmyParts(), busParts()},
	} {
		o := small()
		o.only = parts.own
		if err := o.check([]string{bench}); err != nil {
			t.Errorf("%s refuses its own parts: %v", bench, err)
		}
		for _, part := range parts.other {
			o.only = []string{part}
			if err := o.run(t.Context(), []string{bench}); err == nil || !strings.Contains(err.Error(), "known are "+strings.Join(parts.own, ", ")) {
				t.Errorf("%s --only %s: %v", bench, part, err)
			}
		}
	}
}

func TestAFigureIsJudgedByItsAim(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		got       figure
		aim, want string
	}{
		{atLeast(figure{}, 0.9, 0.9), "≥ 0.9", "met"},
		{atLeast(figure{}, 0.899, 0.9), "≥ 0.9", "not met"},
		{atMost(figure{}, 20, 20, "%.0f ms"), "≤ 20 ms", "met"},
		{atMost(figure{}, 20.01, 20, "%.0f ms"), "≤ 20 ms", "not met"},
	} {
		if c.got.aim != c.aim || c.got.met != c.want {
			t.Errorf("got %q, %q; want %q, %q", c.got.aim, c.got.met, c.aim, c.want)
		}
	}
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	t.Parallel()
	ours, raw := costs{{rate: 90}, {rate: 10}, {rate: 45}}, costs{{rate: 100}, {rate: 10}, {rate: 100}}
	if got := ours.ratio(raw); got != 0.9 {
		t.Errorf("ratio %v, want the median of 0.9, 1 and 0.45", got)
	}
	if got := ours.rate(); got != 45 {
		t.Errorf("rate %v, want 45", got)
	}
}

func TestTheEdgeCanBeMeasuredForLessThanASecond(t *testing.T) {
	t.Parallel()
	o := small()
	o.edgeTime = 100 * time.Millisecond
	figures, err := o.edge(t.Context())
	if err != nil || len(figures) != 4 || !strings.Contains(figures[0].value, "(1 callbacks)") {
		t.Errorf("got %v, %v", figures, err)
	}
}

// TestNoForgedCallbackIsStoredOrFails sends every way of forging to the real edge.
func TestNoForgedCallbackIsStoredOrFails(t *testing.T) {
	t.Parallel()
	o := small()
	o.edgeTime, o.forged = 100*time.Millisecond, 600
	figures, err := o.edge(t.Context())
	if err != nil || len(figures) != 4 {
		t.Fatalf("got %v, %v", figures, err)
	}
	for _, f := range figures[1:3] {
		if f.met != "met" || !strings.Contains(f.value, " 600") {
			t.Errorf("%+v", f)
		}
	}
	for _, status := range []string{"303", "400", "403", "404", "405", "409", "413", "414", "415"} {
		if !strings.Contains(figures[1].value, "× "+status) {
			t.Errorf("no forgery was answered %s: %s", status, figures[1].value)
		}
	}
}

func TestAStoredForgeryAndAFailureMissTheirAims(t *testing.T) {
	t.Parallel()
	r := forged{took: make([]time.Duration, 100), statuses: map[int]int{503: 1, 403: 99}, stored: 1}
	for _, f := range r.figures()[:2] {
		if f.met != "not met" {
			t.Errorf("%+v", f)
		}
	}
}
