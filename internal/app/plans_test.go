package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/campaign"
	"kindling/internal/fault"
)

// offers is a Warmy that fails first.
type offers struct{ calls atomic.Int32 }

func (o *offers) Plans(_ context.Context, account string) ([]campaign.Plan, error) {
	if o.calls.Add(1) == 1 {
		return nil, &fault.Fault{Class: fault.Transient, Code: "warmy_5xx", Cause: "c", Remedy: "r", Forecast: fault.ByTime, Err: errors.New("down")}
	}
	return []campaign.Plan{{ID: 41, Name: account}}, nil
}

func TestPlansAreLookedUpEveryTenMinutesAndTheirFailureIsToldOnce(t *testing.T) { //nolint:paralleltest // a bubble runs beside others by itself
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		server := bustest.Server(t)
		first, second := bustest.Connect(t, server), bustest.Connect(t, server)
		log := &words{}
		h := workerOf(t, fmt.Sprintf("accounts: [{name: main, api_key_file: %q}]", write(t, t.TempDir()+"/key", "k")))
		h.Log = slog.New(slog.NewTextHandler(log, nil))
		warmy := &offers{}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 2)
		for _, book := range []*bus.PlanBook{first.TariffPlans(), second.TariffPlans()} {
			go func() { done <- h.lookUpPlans(ctx, book, warmy) }()
		}
		<-time.After(35 * time.Minute)
		known, err := first.TariffPlans().Of(t.Context(), "main")
		if err != nil || len(known.List) != 1 || known.List[0].Name != "main" || time.Since(known.LookedUp) > plansEvery+plansAsk {
			t.Errorf("%+v, %v", known, err)
		}
		if n := warmy.calls.Load(); n < 4 || n > 5 || log.count("plans_not_looked_up") != 1 {
			t.Errorf("%d calls of two workers in 35 minutes, told %d times", n, log.count("plans_not_looked_up"))
		}
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
	})
}
