package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// watchfulMicrosoft answers a redeem after a time and notes whatever must not happen to a code.
type watchfulMicrosoft struct {
	down    func() bool
	connect func(n int) time.Duration // before the nth send of a code leaves
	answer  time.Duration
	grants  bus.Records[mailbox.Grant]

	mu       sync.Mutex
	calls    map[string]int
	sends    map[string]int
	breaches []string
}

func (m *watchfulMicrosoft) Redeem(ctx context.Context, _ string, c mailbox.Consent) (mailbox.Tokens, error) {
	if m.down() {
		leg.Asked(ctx, false)
		return mailbox.Tokens{}, &fault.Fault{Class: fault.LegDown, Code: "client_secret", Cause: "refused", After: 30 * time.Second}
	}
	code := c.Code.Reveal()
	m.mu.Lock()
	m.calls[code]++
	n := m.calls[code]
	m.mu.Unlock()
	time.Sleep(m.connect(n))
	g, _, err := m.grants.Load(context.WithoutCancel(ctx), code[2:])
	m.mu.Lock()
	m.sends[code]++
	if err == nil && g.Tokens != nil {
		m.breaches = append(m.breaches, fmt.Sprintf("send %d of %s left after its tokens were saved", m.sends[code], code))
	} else if m.sends[code] > 1 {
		m.breaches = append(m.breaches, fmt.Sprintf("send %d of %s while another one was under way", m.sends[code], code))
	}
	m.mu.Unlock()
	time.Sleep(m.answer)
	leg.Asked(ctx, false)
	return mailbox.Tokens{Access: secret.New("a"), Refresh: secret.New("r"), Expiry: time.Now().Add(time.Hour)}, nil
}

func (*watchfulMicrosoft) Refresh(context.Context, string, mailbox.Tokens) (mailbox.Tokens, error) {
	return mailbox.Tokens{}, errors.New("nothing is refreshed here")
}

func (*watchfulMicrosoft) Prove(context.Context, string, mailbox.Tokens, string) (events.Proof, error) {
	return events.Proof{TenantID: "tid", ObjectID: "oid"}, nil
}

// report fails the test for every code that was sent when it must not be.
func (m *watchfulMicrosoft) report(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, b := range m.breaches {
		if i == 5 {
			t.Errorf("... %d breaches in all", len(m.breaches))
			break
		}
		t.Error(b)
	}
}

func serveCodes(t *testing.T, f *fleet, m *watchfulMicrosoft, window int) {
	t.Helper()
	m.calls, m.sends, m.grants = map[string]int{}, map[string]int{}, f.bus.Grants(markBox{})
	serve(t, f.bus, bus.ServeConfig{}, bus.Lane{
		Lane: events.Code, Leg: "main", Window: window, Policy: bus.Policy{Attempts: 1 << 20, Base: time.Second, Cap: 6 * time.Second, Crashes: 5, Nak: true},
		Handler: handlers.RedeemCode{
			Invitations: f.bus.Invitations(markBox{}), Grants: f.bus.Grants(markBox{}), Codes: markBox{}, Microsoft: m, Owner: "w1", Now: time.Now,
		},
	})
}

// One process. Its leg is held for 30 s (the default of hold_for). What lies ready beyond the window gets no sign of life,
// its ack wait of 30 s ends, and after the release the same process has each of these codes twice, at once. The grant's
// lease lets the same owner pass, so each is sent twice.
func TestAHoldLongerThanTheAckWaitSendsNoCodeTwice(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		f := newFleet(t)
		until := time.Now().Add(10 * time.Second)
		m := &watchfulMicrosoft{
			down:    func() bool { return time.Now().Before(until) },
			connect: func(int) time.Duration { return 200 * time.Millisecond }, answer: 2 * time.Second,
		}
		ids := f.consents(t, "held", 60)
		serveCodes(t, f, m, 32)
		for _, id := range ids {
			for load(t, f.bus.Grants(nil), id).Tokens == nil {
				if time.Since(until) > 10*time.Minute {
					t.Fatalf("%s is not redeemed", id)
				}
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Minute)
		m.report(t)
	})
}

// One process. Somebody deletes the lane's consumer; it is made again within a second, and what is under way in the very
// same process is delivered to it once more.
func TestADeletedConsumerSendsNoCodeAfterItsTokensAreSaved(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		f := newFleet(t)
		m := &watchfulMicrosoft{
			down: func() bool { return false },
			connect: func(n int) time.Duration {
				if n == 1 {
					return 0
				}
				return 4 * time.Second // a dial that takes its time
			},
			answer: 3 * time.Second,
		}
		serveCodes(t, f, m, 8)
		ids := f.consents(t, "del", 1)
		eventually(t, "the code is sent", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.sends["c-"+ids[0]] == 1 })
		if err := bus.DeleteConsumer(t.Context(), f.bus, "CODE", "code-main"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "tokens are saved", func() bool { return load(t, f.bus.Grants(nil), ids[0]).Tokens != nil })
		time.Sleep(time.Minute)
		m.report(t)
	})
}

// One process. A code's event was published again after the dedupe window, so it lies in two messages. Whichever of them
// comes second waits until the first is settled.
func TestTwoMessagesOfOneEventSendNoCodeTwice(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		f := newFleet(t)
		m := &watchfulMicrosoft{
			down:    func() bool { return false },
			connect: func(int) time.Duration { return 200 * time.Millisecond }, answer: 2 * time.Second,
		}
		for i := range 20 {
			e := f.consent(t, fmt.Sprintf("again%d", i), time.Now())
			for range 3 { // without an id the server recognises none of them, as after the window
				if err := bus.PublishRaw(t.Context(), f.bus, e.Subject(), []byte(encoded(t, e))); err != nil {
					t.Fatal(err)
				}
			}
		}
		serveCodes(t, f, m, 32)
		waiting(t, f.bus, "CODE", 0)
		m.report(t)
		if len(m.sends) != 20 {
			t.Errorf("%d of 20 codes were sent", len(m.sends))
		}
	})
}
