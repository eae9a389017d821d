package leg_test

import (
	"math"
	"testing"
	"time"

	"kindling/internal/leg"
)

func TestAnEstimateIsGivenOnlyWhereOneCanBe(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		waiting   int
		perMinute float64
		state     leg.State
		want      time.Time
	}{
		"two hours of work":   {6600, 55, leg.Open, now.Add(2 * time.Hour)},
		"nothing waits":       {0, 55, leg.Open, time.Time{}},
		"no pace":             {10, 0, leg.Open, time.Time{}},
		"a pace that is none": {10, math.NaN(), leg.Open, time.Time{}},
		"held":                {10, 55, leg.Held, time.Time{}},
		"probing":             {10, 55, leg.Probing, time.Time{}},
		"years":               {math.MaxInt, 1, leg.Open, time.Time{}},
	} {
		if got := leg.Estimate(now, c.waiting, c.perMinute, c.state); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestTheOutlookSaysWhatWaitsAndUntilWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for want, l := range map[string]leg.Leg{
		"": {State: leg.Open},
		"6600 waiting, 55/min: done at about 14:00 UTC":              {State: leg.Open, Load: leg.Load{Waiting: 6600, PerMinute: 55, DoneAt: now.Add(2 * time.Hour)}},
		"100000 waiting, 55/min: done at about 2026-11-24 18:18 UTC": {State: leg.Open, Load: leg.Load{Waiting: 100_000, PerMinute: 55, DoneAt: now.Add(30*time.Hour + 18*time.Minute)}},
		"7 waiting, 55/min: held, no estimate":                       {State: leg.Held, Load: leg.Load{Waiting: 7, PerMinute: 55}},
		"7 waiting (14 calls), 7/min, no call before 12:10 UTC: done at about 12:12 UTC": {
			State: leg.Open, Load: leg.Load{Waiting: 7, Calls: 14, PerMinute: 7, NotBefore: now.Add(10 * time.Minute), Seen: now}.Estimated(leg.Open),
		},
		"2000 waiting (20 calls), 60/min: done at about 12:00 UTC": {
			State: leg.Open, Load: leg.Load{Waiting: 2000, Calls: 20, PerMinute: 60, Seen: now}.Estimated(leg.Open),
		},
		"0 waiting and 3 on their way, 55/min: done at about 12:00 UTC": {State: leg.Open, Load: leg.Load{Coming: 3, PerMinute: 55, Seen: now}.Estimated(leg.Open)},
		"7 waiting, 28/min: no estimate":                                {State: leg.Open, Load: leg.Load{Waiting: 7, PerMinute: 27.5}},
		"7 waiting, 0.31/min: no estimate":                              {State: leg.Open, Load: leg.Load{Waiting: 7, PerMinute: 5. / 16}},
		"7 waiting: no estimate":                                        {State: leg.Open, Load: leg.Load{Waiting: 7}},
	} {
		if got := l.Outlook(now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
