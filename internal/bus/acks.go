package bus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// An acknowledgement that is lost lets a message come back that was handled: every handler bears that, but it is work
// for nothing. So each one is sent with an address for the server's answer, as DoubleAck does. Waiting for the answer
// here costs neither a goroutine nor a round trip: the answers arrive on one subscription for all.

const (
	// ackAgain is how long an answer may take before the acknowledgement is sent again.
	ackAgain = 2 * time.Second
	// ackFor is how long it is sent again. Then the server has delivered the message to somebody else.
	ackFor = ackWait
)

var errAckLost = errors.New("the server did not confirm the acknowledgement: the message will come back")

// acks confirms the acknowledgements of one bus.
type acks struct {
	nc     *nats.Conn
	prefix string // of the addresses for answers
	sub    *nats.Subscription
	end    chan struct{}

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*unconfirmed
}

type unconfirmed struct {
	subject   string
	sent      time.Time
	first     time.Time
	confirmed func(error)
}

func newAcks(nc *nats.Conn) (*acks, error) {
	a := &acks{nc: nc, prefix: nc.NewInbox() + ".", end: make(chan struct{}), waiting: make(map[uint64]*unconfirmed)}
	sub, err := nc.Subscribe(a.prefix+"*", a.answer)
	if err != nil {
		return nil, fmt.Errorf("listen for confirmed acknowledgements: %w", err)
	}
	a.sub = sub
	go a.repeat()
	return a, nil
}

// send acknowledges a message. confirmed is called once: with nil when the server has answered, else when there is no
// hope left.
func (a *acks) send(subject string, confirmed func(error)) {
	now := time.Now()
	a.mu.Lock()
	a.last++
	token := a.last
	a.waiting[token] = &unconfirmed{subject: subject, sent: now, first: now, confirmed: confirmed}
	a.mu.Unlock()
	a.publish(token, subject)
}

// publish sends an acknowledgement; an empty body is one. What was not sent is not confirmed, and is sent again.
func (a *acks) publish(token uint64, subject string) {
	_ = a.nc.PublishRequest(subject, a.prefix+strconv.FormatUint(token, 36), nil)
}

// answer takes one answer. One that only says that nobody listened is none: a leader is being elected.
func (a *acks) answer(msg *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(msg.Subject, a.prefix), 36, 64)
	if err != nil || len(msg.Header) > 0 && msg.Header.Get("Status") != "" {
		return
	}
	a.mu.Lock()
	u := a.waiting[token]
	delete(a.waiting, token)
	a.mu.Unlock()
	if u != nil {
		u.confirmed(nil)
	}
}

func (a *acks) repeat() {
	tick := time.NewTicker(ackAgain / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.sendAgain(time.Now())
		case <-a.end:
			return
		}
	}
}

func (a *acks) sendAgain(now time.Time) {
	again, lost := make(map[uint64]string), []*unconfirmed(nil)
	a.mu.Lock()
	for token, u := range a.waiting {
		switch {
		case now.Sub(u.first) >= ackFor:
			delete(a.waiting, token)
			lost = append(lost, u)
		case now.Sub(u.sent) >= ackAgain:
			u.sent = now
			again[token] = u.subject
		}
	}
	a.mu.Unlock()
	for token, subject := range again {
		a.publish(token, subject)
	}
	for _, u := range lost {
		u.confirmed(errAckLost)
	}
}

// denied gives up what the server does not let this process acknowledge.
func (a *acks) denied(denial *DeniedError) {
	var lost []*unconfirmed
	a.mu.Lock()
	for token, u := range a.waiting {
		if u.subject == denial.Subject {
			delete(a.waiting, token)
			lost = append(lost, u)
		}
	}
	a.mu.Unlock()
	for _, u := range lost {
		u.confirmed(denial)
	}
}

// close gives up what is not confirmed.
func (a *acks) close() {
	close(a.end)
	_ = a.sub.Unsubscribe()
	a.mu.Lock()
	lost := a.waiting
	a.waiting = make(map[uint64]*unconfirmed)
	a.mu.Unlock()
	for _, u := range lost {
		u.confirmed(errAckLost)
	}
}
