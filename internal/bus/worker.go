package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
)

// worker handles one lane's deliveries: it is the one place that obeys the policy.
type worker struct {
	bus   *Bus
	cfg   ServeConfig
	lane  Lane
	gates []*gate         // of its legs: see legsOf
	stop  context.Context //nolint:containedctx // ends when no new work shall begin; a delivery's own context outlives it
}

// handle is the Watermill handler: nil acknowledges, an error gives the message back.
func (w *worker) handle(msg *message.Message) error {
	ctx := WithTrace(msg.Context(), msg.Metadata.Get(headerTraceparent))
	d := deliveryOf(ctx)
	began := time.Now()
	outcome, err := w.process(ctx, d, msg.Payload)
	if w.cfg.Observer != nil {
		w.cfg.Observer.Delivered(w.lane.Lane, outcome, time.Since(began))
	}
	return err
}

var errGivenBack = errors.New("given back")

func (w *worker) process(ctx context.Context, d *delivery, payload []byte) (outcome string, err error) {
	if !d.claim(d.origin) {
		d.nakAfter(secondCopyDelay)
		return "left", errGivenBack
	}
	e, err := read(d.msg.Subject(), d.msg.Headers(), payload, time.Now())
	if err != nil {
		return w.refuse(ctx, d, payload, e, err)
	}
	if !d.claim(e.ID) {
		d.nakAfter(sameEventDelay)
		return "left", errGivenBack
	}
	for {
		probes, err := w.enter(w.stop) //nolint:contextcheck // parked work ends with the process, not with the delivery's longer life
		if err != nil {
			d.nakAfter(0) // the process stops: another one may have it at once
			return "left", errGivenBack
		}
		outcome, err, again := w.once(ctx, d, payload, e, probes)
		if !again {
			return outcome, err
		}
	}
}

// refreshPatience is how long refreshes leave the probe of Microsoft's leg to a code: codes die.
const refreshPatience = 5 * time.Second

// enter passes the gates of the lane's legs. It returns those that the delivery is let through to probe.
func (w *worker) enter(ctx context.Context) (probes []*gate, err error) {
	var patience time.Duration
	if w.lane.Lane == events.Refresh {
		patience = refreshPatience
	}
	for _, g := range w.gates {
		probe, err := g.enter(ctx, patience)
		if err != nil {
			w.endProbes(context.WithoutCancel(ctx), events.Event{}, probes, false, nil)
			return nil, err
		}
		if probe {
			probes = append(probes, g)
		}
	}
	return probes, nil
}

// endProbes tells every gate that was probed whether its dependency answered. held is the gate that the answer holds.
func (w *worker) endProbes(ctx context.Context, e events.Event, probes []*gate, answered bool, held *gate) {
	for _, g := range probes {
		w.warn(ctx, "probe_not_ended", e, g.probed(ctx, probeEnd{answered: answered, posted: w.posts(), failed: g == held}))
	}
}

// once handles the event once and does what the policy says. again tells that its leg is held: nothing was counted.
func (w *worker) once(ctx context.Context, d *delivery, payload []byte, e events.Event, probes []*gate) (outcome string, err error, again bool) {
	book := w.begin(ctx, d, e)
	defer book.release()
	follow, seen, err := w.attempt(w.sharing(ctx, e, probes), book, e)
	cut := err != nil && ctx.Err() != nil // by the end of the drain: no failure of the event
	decision := w.judge(ctx, d, e, err, seen, cut, probes)
	if !book.crashed { // a crash loop stays in the book until it is buried
		book.crossOut(ctx)
	}
	switch {
	case cut:
		return "left", errGivenBack, false
	case decision.Verdict == Hold:
		return "", nil, true
	}
	outcome, err = w.obey(ctx, d, payload, e, follow, err, decision)
	if book.crashed && outcome == "dead" {
		book.crossOut(ctx)
	}
	return outcome, err, false
}

// judge decides, holds a leg if it comes to that, and ends the probes, whatever happens.
func (w *worker) judge(ctx context.Context, d *delivery, e events.Event, err error, seen *leg.Witness, cut bool, probes []*gate) Decision {
	var held *gate
	defer func() { w.endProbes(context.WithoutCancel(ctx), e, probes, seen.Answered(), held) }()
	decision, tripped := w.decide(d, e, err, seen, cut)
	probed := slices.Contains(probes, w.own())
	switch {
	case decision.Verdict == Hold && !errors.Is(err, errLegShut):
		held = w.gates[0]
		if !fault.Is(err, fault.LegDown) {
			held = w.own()
		}
		w.hold(ctx, held, e, err, decision.Delay)
	case seen.Failed() && (tripped || probed || w.posts() && w.own().unproven()):
		held = w.own()
		w.rest(ctx, held, e, w.posts() && (probed || held.recovering()))
	case seen.Answered() && w.posts():
		w.own().prove()
	}
	return decision
}

// posts reports whether the lane makes calls with an effect: a POST that fails costs its event a look at Warmy's listing. It also
// makes GETs, a probe's ping for one, and an answer to those counts as one of its calls: the worst that it costs is one POST more.
func (w *worker) posts() bool { return w.lane.Lane == events.Register }

// rest leaves a leg alone on which a handler has concluded a failure by itself; the next ones need not have it, too. After a
// relapse that is for longer each time.
func (w *worker) rest(ctx context.Context, g *gate, e events.Event, relapse bool) {
	d := cmp.Or(w.lane.Outage, w.cfg.HoldFor)
	if relapse {
		d = g.rest(d)
	}
	w.stopLeg(ctx, g, e, outage{fault: breakerOpen(fault.Of(errOutage)), rest: d, relapse: relapse})
}

// sharing says in the handler's context for whom it calls: that is what a Pacer goes by.
func (w *worker) sharing(ctx context.Context, e events.Event, probes []*gate) context.Context {
	if len(probes) > 0 {
		ctx = leg.Probe(ctx)
	}
	return withCalling(ctx, w.lane.Lane, e.Campaign, w.own())
}

// own is the gate of the leg that the lane's own outages hold.
func (w *worker) own() *gate { return w.gates[len(w.gates)-1] }

// attempt runs the handler once, unless the event has killed its workers before. seen tells how the dependency answered.
func (w *worker) attempt(ctx context.Context, book *book, e events.Event) ([]events.Event, *leg.Witness, error) {
	ctx, seen := leg.Watch(ctx)
	if book.crashed {
		return nil, seen, crashLoop()
	}
	follow, err := w.invoke(ctx, e)
	return follow, seen, err
}

// decide asks the policy, and the breaker: a failure of the dependency itself holds the leg once there are too many, and
// counts against no event then.
func (w *worker) decide(d *delivery, e events.Event, err error, seen *leg.Witness, cut bool) (decision Decision, tripped bool) {
	if cut {
		return Decision{Verdict: Leave}, false
	}
	if errors.Is(err, errLegShut) {
		return Decision{Verdict: Hold}, false
	}
	tripped = w.own().judge(seen)
	if err != nil && fault.Of(err).Outage && seen.Failed() && (tripped || w.own().shut()) {
		return Decision{Verdict: Hold}, tripped
	}
	return w.lane.Policy.Decide(e, err, w.failed(d, e), time.Now(), rand.Float64()), tripped //nolint:gosec // jitter needs no secrecy
}

func (w *worker) failed(d *delivery, e events.Event) int {
	if w.lane.Policy.Nak {
		return int(min(d.deliveries, 1<<16)) - 1
	}
	return e.Failed
}

// invoke runs the handler. A panic is a failure like any other: counted, logged, and buried when it repeats.
func (w *worker) invoke(ctx context.Context, e events.Event) (follow []events.Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &fault.Fault{
				Class: fault.Transient, Code: "panic", Forecast: fault.ByConfig, Err: errors.New("the handler panicked"),
				Cause: "a defect in Kindling stopped the handler", Remedy: "report the log's stack trace; replay after an update",
			}
			w.bus.log.ErrorContext(ctx, "handler_panicked", "lane", w.lane.Lane, "mailbox", e.Mailbox, "panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
		}
	}()
	return w.lane.Handler.Handle(ctx, e)
}

func (w *worker) hold(ctx context.Context, g *gate, e events.Event, cause error, d time.Duration) {
	f := fault.Of(cause)
	if f.Class != fault.LegDown {
		f, d = breakerOpen(f), w.lane.Outage
	}
	w.stopLeg(ctx, g, e, outage{fault: f, rest: cmp.Or(d, w.cfg.HoldFor)})
}

func (w *worker) stopLeg(ctx context.Context, g *gate, e events.Event, o outage) {
	f := o.fault
	w.bus.log.ErrorContext(ctx, "leg_held", "leg", g.name, "fault", f.Code, "cause", f.Cause, "remedy", f.Remedy, "hold_for", o.rest)
	w.warn(ctx, "leg_hold_failed", e, g.hold(ctx, o))
}

// obey does what the policy has decided.
func (w *worker) obey(
	ctx context.Context, d *delivery, payload []byte, e events.Event, follow []events.Event, cause error, decision Decision,
) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), concludeTime) // what is concluded is stored, drain or not
	defer cancel()
	if decision.Verdict == Acked {
		return w.conclude(ctx, d, e, follow)
	}
	f := fault.Of(cause)
	w.bus.log.WarnContext(ctx, "attempt_failed", "lane", w.lane.Lane, "mailbox", e.Mailbox, "event", e.ID, "class", f.Class, "fault", f.Code, "error", cause)
	switch {
	case decision.Verdict == Bury:
		return w.bury(ctx, d, payload, e, f)
	case w.lane.Policy.Nak:
		d.nakAfter(decision.Delay)
		return string(f.Class), errGivenBack
	}
	return w.retry(ctx, d, e, f, decision.Delay)
}

// conclude stores what follows from e.
func (w *worker) conclude(ctx context.Context, d *delivery, e events.Event, follow []events.Event) (string, error) {
	if err := w.bus.Publish(ctx, follow...); err != nil {
		return w.left(ctx, "follow_up_not_stored", d, e, err)
	}
	return "ok", nil
}

// retry stores e as a timer, with the failure in its history.
func (w *worker) retry(ctx context.Context, d *delivery, e events.Event, f *fault.Fault, delay time.Duration) (string, error) {
	now := time.Now()
	e.Tries = addTry(e.Tries, f, now)
	switch {
	case f.Outage:
		e.Outages++
	case f.Class != fault.RetryAfter: // being told to wait is no failure
		e.Failed++
	}
	if err := w.bus.Publish(ctx, e.Later(now.Add(delay))); err != nil {
		return w.left(ctx, "timer_not_stored", d, e, err)
	}
	return string(f.Class), nil
}

// left gives a delivery back whose conclusion could not be stored: it comes again, and its publications are recognised.
func (w *worker) left(ctx context.Context, step string, d *delivery, e events.Event, err error) (string, error) {
	w.warn(ctx, step, e, err)
	d.nakAfter(republishDelay)
	return "left", errGivenBack
}

// bury stores the dead letter, then the fact, then lets the delivery go: a crash between them repeats the step, and
// the stream recognises the second copy.
func (w *worker) bury(ctx context.Context, d *delivery, payload []byte, e events.Event, f *fault.Fault) (string, error) {
	err := w.bus.bury(ctx, d, payload, e, w.lane.Lane, f, time.Now())
	if err == nil {
		err = w.lane.Handler.Bury(ctx, e, f)
		if fault.Is(err, fault.Permanent) {
			w.warn(ctx, "death_not_recorded", e, err) // its record cannot be read: the letter must do
			err = nil
		}
	}
	if err != nil {
		return w.left(ctx, "dead_letter_not_stored", d, e, err)
	}
	w.bus.log.ErrorContext(ctx, "dead_letter", "lane", w.lane.Lane, "mailbox", e.Mailbox, "event", e.ID, "class", f.Class, "fault", f.Code)
	return "dead", nil
}

func (w *worker) warn(ctx context.Context, what string, e events.Event, err error) {
	if err != nil {
		w.bus.log.WarnContext(ctx, "bus_step_failed", "step", what, "lane", w.lane.Lane, "mailbox", e.Mailbox, "error", err)
	}
}
