package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kindling/internal/events"
)

// poisonPlan is a load that holds what cannot be handled, beside the same load without it.
type poisonPlan struct {
	workers int // processes
	window  int // of each
	wait    time.Duration
	run     time.Duration // how long is measured
	lead    time.Duration // from the start to the event that kills
	every   int           // one event of so many is poison, by turns undecodable and always panicking
}

// poisoned is the load for one length of the runs.
func poisoned(run time.Duration) poisonPlan {
	return poisonPlan{workers: 4, window: 16, wait: 50 * time.Millisecond, run: run, lead: 2 * startTime, every: 100}
}

// most is what the handlers alone could do in a second.
func (p poisonPlan) most() float64 { return float64(p.workers*p.window) / p.wait.Seconds() }

// killerAt is the place of the event that kills, which is no other poison's.
func (p poisonPlan) killerAt() int { return int(p.most()*p.lead.Seconds())/p.every*p.every + 1 }

const (
	poisonStream = "REGISTER"
	// quickPoison is too short to see the event that kills buried: that takes five deaths, 30 s apart.
	quickPoison = 45 * time.Second
	// deathsAtMost is how many workers one event may kill.
	deathsAtMost = 5
)

// poisonFigures measure what the healthy events of a lane lose to the sick ones. A worker that is killed takes what it
// holds along until the ack wait of 30 s is over, and its place is empty until the supervisor has started the next one:
// the run has to be much longer than that.
func (b busBench) poisonFigures(ctx context.Context) ([]figure, error) {
	p := b.plan.poison
	clean, err := b.poisonRun(ctx, false)
	if err != nil {
		return nil, err
	}
	sick, err := b.poisonRun(ctx, true)
	if err != nil {
		return nil, err
	}
	ratio := sick.rate / clean.rate
	title := fmt.Sprintf("poison, 1 %% undecodable or panicking and one event that kills, %d processes, %d at once each, handler of %v, %v", p.workers, p.window, p.wait, p.run)
	deaths := atMost(figure{
		name: "poison: workers killed by one event until it was buried", value: fmt.Sprint(sick.deaths), against: "it comes back after the ack wait of 30 s",
	}, float64(sick.deaths), deathsAtMost, "%.0f")
	if !sick.buried {
		deaths.name = "poison: workers killed by one event, which was not buried yet at the end"
	}
	return []figure{
		atLeast(figure{
			name:    title + ": throughput of the others",
			value:   fmt.Sprintf("%.3f: %.0f/s, %d workers killed and started again", ratio, sick.rate, sick.deaths),
			against: fmt.Sprintf("without poison %.0f/s; handlers alone %.0f/s", clean.rate, p.most()),
		}, ratio, 0.95),
		deaths,
		remark("poison: what became of it", fmt.Sprintf("%d undecodable buried, %d handlings panicked, %d given up", sick.undecodable, sick.panics, sick.panicked)),
	}, nil
}

// poisonOutcome is what one load came to.
type poisonOutcome struct {
	rate                          float64 // of the healthy events
	deaths                        int
	buried                        bool // the event that kills
	undecodable, panicked, panics int
}

// poisonRun works a backlog off for a while, and looks what has become of it.
func (b busBench) poisonRun(ctx context.Context, sick bool) (out poisonOutcome, err error) {
	p := b.plan.poison
	r, err := newBusRig(ctx, true)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	backlog := int(p.most() * (p.run + 3*startTime).Seconds())
	if err := r.fillPoison(ctx, p, backlog, sick); err != nil {
		return out, err
	}
	team, err := superviseWorkers(ctx, p, r.store.url)
	defer func() { err = errors.Join(err, team.stop()) }()
	if err != nil {
		return out, err
	}
	pause(ctx, startTime) // until all of them work
	left, began, err := r.leftOf(ctx)
	if err != nil {
		return out, err
	}
	pause(ctx, p.run)
	after, now, err := r.leftOf(ctx)
	if err != nil {
		return out, err
	}
	if after == 0 {
		return out, errors.New("the backlog was gone too early to measure")
	}
	out.rate = float64(left-after) / now.Sub(began).Seconds()
	if sick {
		out.rate *= 1 - 1/float64(p.every) // poison lies evenly among the others, and leaves the stream as they do
	}
	out.deaths, out.panics = int(team.deaths.Load()), int(team.panics.Load())
	return out, r.lookAtLetters(ctx, &out)
}

// leftOf counts what waits in the lane's stream.
func (r *busRig) leftOf(ctx context.Context) (int, time.Time, error) {
	s, err := r.js.Stream(ctx, poisonStream)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("find stream %s: %w", poisonStream, err)
	}
	return int(s.CachedInfo().State.Msgs), time.Now(), nil //nolint:gosec // a count
}

// lookAtLetters counts the dead letters.
func (r *busRig) lookAtLetters(ctx context.Context, out *poisonOutcome) error {
	ours, err := openBus(ctx, r.store.url, "letters")
	if err != nil {
		return err
	}
	defer ours.Close()
	var strange error
	err = ours.DeadLetters().Each(ctx, func(l events.DeadLetter) bool {
		switch {
		case l.Mailbox == killerName:
			out.buried = true
		case l.Code == "undecodable":
			out.undecodable++
		case l.Code == "panic":
			out.panicked++
		default:
			strange = fmt.Errorf("a healthy event was buried: %s", l.Code)
		}
		return strange == nil
	})
	return errors.Join(strange, err)
}

// fillPoison stores the backlog: healthy events, and if it shall be sick one poison among so many, and the one that kills.
func (r *busRig) fillPoison(ctx context.Context, p poisonPlan, n int, sick bool) error {
	at := time.Now()
	for first := 0; first < n; first += fillChunk {
		all := make([]parcel, 0, fillChunk)
		for i := first; i < min(n, first+fillChunk); i++ {
			m, err := poisonParcel(poisonName(p, i, sick), at)
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		if err := r.publishRaw(ctx, r.js, r.like, all); err != nil {
			return err
		}
	}
	return nil
}

// What the mailboxes of poison are called.
const (
	killerName     = "killer"
	panickerPrefix = "panicker"
	junkPrefix     = "junk"
)

func poisonName(p poisonPlan, i int, sick bool) string {
	switch {
	case sick && i == p.killerAt():
		return killerName
	case sick && i%(2*p.every) == 0:
		return fmt.Sprintf("%s%d", panickerPrefix, i)
	case sick && i%p.every == 0:
		return fmt.Sprintf("%s%d", junkPrefix, i)
	}
	return fmt.Sprintf("m%023d", i)
}

func poisonParcel(name string, at time.Time) (parcel, error) {
	e := events.New(events.RegistrationRequested, name, at)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt = name, "bench", "bench", "bench", "bench"
	data, err := events.Encode(e)
	if strings.HasPrefix(name, junkPrefix) {
		data = data[:len(data)/2]
	}
	return parcel{id: e.ID, subject: e.Subject(), data: data}, err
}
