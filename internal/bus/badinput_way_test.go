package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// What goes wrong between a good producer and a good handler. Elsewhere:
//
//	panic in handler                   TestAPanicIsCountedAndBuriedAndOthersFlow
//	message that kills the process     TestAMessageThatKillsItsProcessIsBuried, TestAnEventThatNeverEndsIsBuriedAndNaksAreNoCrash
//	consumer deleted                   TestALaneGoesOnAfterItsConsumerWasDeleted
func TestWhatGoesWrongOnTheWayIsHandled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T, p *plant){
		"ack lost":                              ackLost,
		"ack after AckWait":                     ackLate,
		"5 KB header":                           fatHeader,
		"CRLF in header":                        brokenHeader,
		"stream recreated (sequence restart)":   streamRecreated,
		"KV delete marker":                      func(t *testing.T, p *plant) { t.Helper(); noValue(t, p, "KV-Operation", "DEL") },
		"KV purge marker":                       func(t *testing.T, p *plant) { t.Helper(); noValue(t, p, "KV-Operation", "PURGE") },
		"KV empty value":                        func(t *testing.T, p *plant) { t.Helper(); noValue(t, p) },
		"KV key with @":                         badKeys,
		"revision rollback after restore":       rollback,
		"quarantine full (stop stage)":          quarantineFull,
		"garbage where a leg's state is kept":   badLeg,
		"garbage where a call budget is kept":   badBudget,
		"a dead letter as large as can be":      largeLetter,
		"a trace header that is none":           badTrace,
		"a record that Bury cannot read either": buryUnreadable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newPlant(t))
		})
	}
}

// ackWait changes how long the register lane's consumer waits. Kindling works with no other wait than its own, so this
// comes after its start.
func (p *producer) ackWait(t *testing.T, wait time.Duration) {
	t.Helper()
	c, err := p.js.Consumer(t.Context(), "REGISTER", "register-main")
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	cfg.AckWait = wait
	if _, err := p.js.UpdateConsumer(t.Context(), "REGISTER", cfg); err != nil {
		t.Fatal(err)
	}
}

// ackLost: somebody takes the message, and is never heard of again.
func ackLost(t *testing.T, p *plant) {
	t.Helper()
	c, err := p.js.CreateConsumer(t.Context(), "REGISTER", bus.ConsumerWanted(events.Register, false, "main", 16))
	if err != nil {
		t.Fatal(err)
	}
	p.invite(t, "mb1", "main")
	p.grant(t, "mb1")
	if err := p.Publish(t.Context(), proven("mb1")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(jetstream.FetchMaxWait(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p.run(t)
	p.flows(t)
	p.ackWait(t, 300*time.Millisecond)
	p.empty(t, "REGISTER")
	if p.posted.Load() != 2 {
		t.Errorf("%d posts for two mailboxes", p.posted.Load())
	}
}

// ackLate: the handler takes so long, and gives so few signs of life, that the message is delivered again meanwhile. The
// process that has it in hand gives the second delivery back.
func ackLate(t *testing.T, p *plant) {
	t.Helper()
	began, release := make(chan int, 100), make(chan struct{})
	h := fakeHandler{handle: func(context.Context, events.Event) ([]events.Event, error) {
		began <- 1
		<-release
		return nil, nil
	}}
	serve(t, p.Bus, bus.ServeConfig{}, bus.Lane{Lane: events.Register, Leg: "main", Window: 4, Policy: quick, Handler: h})
	if err := p.Publish(t.Context(), event(events.RegistrationRequested, "mb1")); err != nil {
		t.Fatal(err)
	}
	receive(t, began, "first delivery")
	p.ackWait(t, 200*time.Millisecond)
	eventually(t, "it is delivered again while the first is at work", func() bool {
		c, err := p.js.Consumer(t.Context(), "REGISTER", "register-main")
		return err == nil && c.CachedInfo().NumRedelivered > 0
	})
	close(release)
	p.empty(t, "REGISTER")
	if n := len(began); n != 0 {
		t.Errorf("it was handled %d times more", n)
	}
	if letters := deadLetters(t, p.Bus); len(letters) != 0 {
		t.Errorf("buried: %+v", letters)
	}
}

func fatHeader(t *testing.T, p *plant) {
	t.Helper()
	p.run(t)
	p.invite(t, "mb1", "main")
	p.grant(t, "mb1")
	e := proven("mb1")
	p.send(t, e.Subject(), encoded(t, e), "X-Fat", strings.Repeat("x", 5<<10))
	p.empty(t, "REGISTER")
	if p.posted.Load() != 1 {
		t.Error("it was not handled")
	}
}

// brokenHeader: the client makes one line of it, so it adds no header of its own.
func brokenHeader(t *testing.T, p *plant) {
	t.Helper()
	p.run(t)
	p.invite(t, "mb1", "main")
	p.grant(t, "mb1")
	e := proven("mb1")
	p.send(t, e.Subject(), encoded(t, e), "X-Note", "a\r\nNats-Rollup: all")
	p.empty(t, "REGISTER")
	if p.posted.Load() != 1 {
		t.Error("it was not handled")
	}
}

func streamRecreated(t *testing.T, p *plant) {
	t.Helper()
	p.run(t)
	p.flows(t)
	eventually(t, "every slot is pulled from", func() bool { return p.pulling(t, "REGISTER") == events.Slots })
	for _, name := range []string{"CODE", "REGISTER"} {
		p.empty(t, name) // an acknowledgement that is sent again would be taken for that of the new stream's first event
		if err := p.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.flows(t) // the sequences are those of the first event again
	p.send(t, "kindling.register.main.s1.mb1", "garbage")
	if letter := p.letter(t, 1); letter.Code != "undecodable" {
		t.Errorf("buried as %s", letter.Code)
	}
}

// pulling counts the consumers of a stream that a worker pulls from: before that its start has not come to an end.
func (p *producer) pulling(t *testing.T, stream string) (n int) {
	t.Helper()
	s, err := p.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for info := range s.ListConsumers(t.Context()).Info() {
		if info.NumWaiting > 0 {
			n++
		}
	}
	return n
}

// noValue: a registration that somebody has deleted is not one that never was. Posting again could make a second
// mailbox at Warmy.
func noValue(t *testing.T, p *plant, header ...string) {
	t.Helper()
	p.run(t)
	p.invite(t, "mb1", "main")
	p.grant(t, "mb1")
	p.send(t, "$KV.registrations.mb1", "", header...)
	if err := p.Publish(t.Context(), proven("mb1")); err != nil {
		t.Fatal(err)
	}
	if letter := p.letter(t, 1); letter.Code != "record_unreadable" || letter.Forecast != "by_config" {
		t.Errorf("buried as %s, %s", letter.Code, letter.Forecast)
	}
	p.empty(t, "REGISTER")
	if p.posted.Load() != 0 {
		t.Error("posted although nobody knows what was posted before")
	}
	p.flows(t)
}

func badKeys(t *testing.T, p *plant) {
	t.Helper()
	p.invite(t, "mb1", "main")
	for _, key := range []string{"a@example.com", "*", ">", "mb1.*", "", ".", "mb1.", "a b", "a\u202eb", "MB1"} {
		if inv, revision, err := p.Invitations(p.people).Load(t.Context(), key); err != nil || revision != 0 || inv.ID != "" {
			t.Errorf("%q: loads %+v, %v", key, inv, err)
		}
		if _, err := p.Claims().Save(t.Context(), key, mailbox.Claim{}, 0); err == nil {
			t.Errorf("%q: saved", key)
		}
	}
	if n, err := bus.Waiting(t.Context(), p.Bus, "KV_claims"); err != nil || n != 0 {
		t.Errorf("%d claims stored, %v", n, err)
	}
}

// rollback: after a restore the bucket's revisions are older than those that somebody remembers.
func rollback(t *testing.T, p *plant) {
	t.Helper()
	claims := p.Claims()
	var remembered uint64
	for range 3 {
		var err error
		if remembered, err = claims.Save(t.Context(), "mb1", mailbox.Claim{}, remembered); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.js.DeleteStream(t.Context(), "KV_claims"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.send(t, "$KV.claims.mb1", `{"attempts":[{"id":"restored"}]}`)
	if _, err := claims.Save(t.Context(), "mb1", mailbox.Claim{}, remembered); !errors.Is(err, handlers.ErrConflict) {
		t.Errorf("saved over what was restored: %v", err)
	}
	claim, revision, err := claims.Load(t.Context(), "mb1")
	if err != nil || len(claim.Attempts) != 1 || revision >= remembered {
		t.Errorf("loaded %+v at %d, %v", claim, revision, err)
	}
	if _, err := claims.Save(t.Context(), "mb1", claim, revision); err != nil {
		t.Errorf("what was read anew cannot be saved: %v", err)
	}
}

// quarantineFull: what cannot be buried stays in its lane, and goes when there is room.
func quarantineFull(t *testing.T, p *plant) {
	t.Helper()
	if err := bus.LimitStream(t.Context(), p.Bus, "DEAD", 1); err != nil {
		t.Fatal(err)
	}
	p.run(t)
	for _, payload := range []string{"one", "two", "three"} {
		p.send(t, "kindling.register.main.s1.mb1", payload)
	}
	eventually(t, "all were tried and given back", func() bool { return p.counted.of("left") >= 3 })
	if n, err := bus.Waiting(t.Context(), p.Bus, "REGISTER"); err != nil || n != 3 {
		t.Errorf("%d of 3 are kept, %v", n, err)
	}
	if n := p.counted.of("dead"); n != 0 {
		t.Errorf("%d are counted as buried", n)
	}
	if err := bus.LimitStream(t.Context(), p.Bus, "DEAD", 1<<30); err != nil {
		t.Fatal(err)
	}
	p.letter(t, 3)
	p.empty(t, "REGISTER")
}

// badLeg: bytes that are no leg's state hold no leg, and stop no worker from starting.
func badLeg(t *testing.T, p *plant) {
	t.Helper()
	garbage := []string{
		"garbage", "", `{"name":"warmy/other","state":"held"}`, `{"name":"warmy/main","state":"hovering"}`, `{"name":"warmy/main","state":"open","state":"held"}`,
	}
	p.send(t, "$KV.control.leg.warmy.main", garbage[0])
	p.run(t)
	p.flows(t)
	for _, value := range garbage {
		if err := p.Legs().Hold(t.Context(), "warmy/main", "maintenance", "op"); err != nil {
			t.Fatalf("hold after %q: %v", value, err)
		}
		p.send(t, "$KV.control.leg.warmy.main", value)
		legs, err := p.Legs().List(t.Context())
		if err != nil || len(legs) != 2 || legs[1].State != leg.Open {
			t.Errorf("%q: %+v, %v", value, legs, err)
		}
		if err := p.Legs().Release(t.Context(), "warmy/main", "op"); err != nil {
			t.Errorf("release after %q: %v", value, err)
		}
	}
	p.flows(t)
}

// badBudget: a time line that ends in the year 9999 would be an account that never calls again.
func badBudget(t *testing.T, p *plant) {
	t.Helper()
	for _, value := range []string{"garbage", "", "null", `{"next":"9999-01-01T00:00:00Z"}`, `{"next":7}`, `{"Next":"2026-01-01T00:00:00Z"}`} {
		p.send(t, "$KV.control.pace.main", value)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := p.Pacer(map[string]int{"main": 600}).Wait(ctx, "main"); err != nil {
			t.Errorf("%q: %v", value, err)
		}
		cancel()
	}
}

// largeLetter: a message as large as its stream takes still fits into a dead letter, whatever its bytes grow to.
func largeLetter(t *testing.T, p *plant) {
	t.Helper()
	p.run(t)
	e := proven("mb1") // never invited: buried as an event
	valid := encoded(t, e)
	room := 64<<10 - len(valid) - 200
	tries := `"tries":[{"at":"2026-01-01T00:00:00Z","class":"transient","code":"x","cause":"` + strings.Repeat("<", room) + `"}]`
	for i, payload := range []string{
		strings.Repeat("\x00", 60<<10),
		strings.Repeat("\xff", 60<<10),
		strings.Repeat("<", 60<<10),
		strings.Replace(valid, `"at":`, tries+`,"at":`, 1),
	} {
		p.send(t, e.Subject(), payload)
		letter := p.letter(t, i+1)
		if string(letter.Payload()) != payload {
			t.Errorf("%.20q…: %d bytes are kept of %d", payload, len(letter.Payload()), len(payload))
		}
		p.empty(t, "REGISTER")
	}
}

// badTrace: what is no trace is not passed on; it could be anything.
func badTrace(t *testing.T, p *plant) {
	t.Helper()
	p.run(t)
	subject := event(events.RegistrationRequested, "mb1").Subject()
	for i, trace := range []string{
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "owner@example.com", strings.Repeat("0", 5000), strings.Repeat("z", 55),
	} {
		p.send(t, subject, "garbage", "traceparent", trace)
		if got := p.letter(t, i+1).Trace; (got == trace) != (i == 0) || got != "" && i > 0 {
			t.Errorf("%.60q is kept as %q", trace, got)
		}
	}
}

// buryUnreadable: the fact that a death should be recorded in cannot be read, so the letter must do.
func buryUnreadable(t *testing.T, p *plant) {
	t.Helper()
	p.run(t)
	p.invite(t, "mb1", "main")
	p.send(t, "$KV.grants.mb1", "garbage")
	if err := p.Publish(t.Context(), p.code(t, "mb1", "0.code", time.Now()), proven("mb1")); err != nil {
		t.Fatal(err)
	}
	p.letter(t, 2)
	p.empty(t, "CODE")
	p.empty(t, "REGISTER")
	p.flows(t)
}
