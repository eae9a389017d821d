package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/campaign"
	"kindling/internal/handlers"
)

// lookApart is the longest pause between two looks of a process that waits for a session.
const lookApart = 240 * time.Millisecond

// TestWhoDiesWithASessionStopsTheOthersForTheRestOfTheLoan has a process die whose clock is wrong.
func TestWhoDiesWithASessionStopsTheOthersForTheRestOfTheLoan(t *testing.T) { //nolint:paralleltest // bubbles
	bustest.Alone(t, func(t *testing.T) { //nolint:thelper // the test itself
		for _, off := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
			bustest.OneBubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				s := bustest.Server(t)
				dead := bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(off) }).Sessions(maskBox{})
				next := bustest.Connect(t, s).Sessions(maskBox{})
				const loan = 15 * time.Second
				_, lost, err := dead.Borrow(t.Context(), "main", loan)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_, revision, err := next.Borrow(t.Context(), "main", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < loan-lookApart || took > loan+lookApart {
					t.Errorf("the clock of the one that died is off by %v: the next one waited for %v of a loan of %v", off, took, loan)
				}
				if _, err := dead.Keep(t.Context(), "main", lost, []byte("late"), 0); !errors.Is(err, handlers.ErrConflict) {
					t.Errorf("a loan that was over: %v", err)
				}
				if _, err := next.Keep(t.Context(), "main", revision, []byte("mine"), 0); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// TestAWrongClockStopsNoLookUpOfPlans has a process die that asks Warmy for the tariff plans.
func TestAWrongClockStopsNoLookUpOfPlans(t *testing.T) { //nolint:paralleltest // bubbles
	bustest.Alone(t, func(t *testing.T) { //nolint:thelper // the test itself
		for _, off := range []time.Duration{10 * time.Minute, -10 * time.Minute} {
			bustest.OneBubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				s := bustest.Server(t)
				dead := bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(off) }).TariffPlans()
				next := bustest.Connect(t, s).TariffPlans()
				ask := func(p *bus.PlanBook, err error) (asked bool) {
					_ = p.Refresh(t.Context(), "main", 10*time.Minute, func(context.Context, string) ([]campaign.Plan, error) {
						asked = true
						return nil, err
					})
					return asked
				}
				if !ask(dead, errors.New("it died")) {
					t.Fatal("nobody asks")
				}
				time.Sleep(30 * time.Second)
				if ask(next, nil) {
					t.Errorf("off by %v: two ask within a minute", off)
				}
				time.Sleep(31 * time.Second)
				if !ask(next, nil) {
					t.Errorf("off by %v: after a minute nobody asks", off)
				}
			})
		}
	})
}
