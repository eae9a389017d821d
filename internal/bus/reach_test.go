package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
)

func TestSilenceIsTheTimeWithoutAnyAnswer(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	type step struct {
		wait time.Duration
		ask  bool
		end  bool
		err  error
	}
	for name, c := range map[string]struct {
		steps []step
		want  time.Duration
	}{
		"nothing asked":                       {[]step{{wait: time.Hour}}, 0},
		"asked and not answered yet":          {[]step{{ask: true}, {wait: 2 * time.Second}}, 2 * time.Second},
		"timed out":                           {[]step{{ask: true}, {wait: time.Second}, {end: true, err: nats.ErrTimeout}, {wait: time.Second}}, 2 * time.Second},
		"nobody listened":                     {[]step{{ask: true}, {end: true, err: nats.ErrNoResponders}, {wait: time.Second}}, time.Second},
		"answered":                            {[]step{{ask: true}, {end: true}, {wait: time.Second}}, 0},
		"a refusal is an answer":              {[]step{{ask: true}, {end: true, err: refused}, {wait: time.Second}}, 0},
		"answered after a failure":            {[]step{{ask: true}, {end: true, err: nats.ErrTimeout}, {wait: time.Second}, {ask: true}, {end: true}, {wait: time.Second}}, 0},
		"one of two answered":                 {[]step{{ask: true}, {ask: true}, {wait: time.Second}, {end: true}, {wait: 3 * time.Second}}, 3 * time.Second},
		"one of two cancelled":                {[]step{{ask: true}, {ask: true}, {wait: time.Second}, {end: true, err: context.Canceled}, {wait: time.Second}}, 2 * time.Second},
		"cancelled":                           {[]step{{ask: true}, {end: true, err: context.Canceled}, {wait: time.Second}}, 0},
		"failures in a row are one":           {[]step{{ask: true}, {end: true, err: nats.ErrTimeout}, {wait: time.Second}, {ask: true}, {end: true, err: nats.ErrTimeout}, {wait: time.Second}}, 2 * time.Second},
		"a deadline that passed is no answer": {[]step{{ask: true}, {end: true, err: context.DeadlineExceeded}, {wait: time.Second}}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s bus.Silence
				for _, step := range c.steps {
					time.Sleep(step.wait)
					if step.ask {
						s.Asked()
					}
					if step.end {
						s.Ended(step.err)
					}
				}
				if got := s.Lasts(); got != c.want {
					t.Errorf("silent for %v, want %v", got, c.want)
				}
			})
		})
	}
}

// A server without the stream is, to its clients, as one that the others are cut off from: it is there, and nobody
// behind it takes a write.
func TestAProcessLeavesAServerThatStoresNothing(t *testing.T) {
	t.Parallel()
	var urls []string
	for range 2 {
		s, err := embed.Start(embed.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", LazySync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Stop() })
		urls = append(urls, s.ClientURL())
	}
	b, err := bus.Connect(t.Context(), bus.Config{URL: strings.Join(urls, ","), Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	deaf := bus.ServerAddress(b)
	other := urls[0]
	if strings.HasSuffix(other, deaf) {
		other = urls[1]
	}
	whole, err := bus.Connect(t.Context(), bus.Config{URL: other, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(whole.Close)
	if _, err := whole.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	bus.Watch(b, 500*time.Millisecond)
	e := events.New(events.RegistrationRequested, "cause", time.Now())
	e.Mailbox, e.App, e.Account, e.Campaign = "m1", "main", "main", "campus"
	eventually(t, "the event is stored by the other server", func() bool { return b.Publish(t.Context(), e) == nil })
	if now := bus.ServerAddress(b); now == deaf {
		t.Errorf("still connected to %s", now)
	}
}

// An edge that is unready for longer than the cluster is away would be an outage of its own.
func TestAnElectionMakesNobodyUnready(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed, stored, ready := bus.Storing(3)
		for range 9 {
			failed()
			if err := ready(); err != nil {
				t.Fatalf("unready in an election: %v", err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		failed()
		if !errors.Is(ready(), bus.ErrNotStoring) {
			t.Error("ready although nothing was stored for ten seconds")
		}
		stored()
		if err := ready(); err != nil {
			t.Errorf("unready although it stores: %v", err)
		}
		failed()
		if err := ready(); err != nil {
			t.Errorf("unready at the first failure after that: %v", err)
		}
		time.Sleep(time.Minute)
		failed()
		if err := ready(); err != nil {
			t.Errorf("unready because of a failure a minute ago: %v", err)
		}
	})
}

func TestASingleServerThatDoesNotStoreMakesUnreadyAtOnce(t *testing.T) {
	t.Parallel()
	failed, _, ready := bus.Storing(1)
	failed()
	if !errors.Is(ready(), bus.ErrNotStoring) {
		t.Error("ready although nothing is stored")
	}
}
