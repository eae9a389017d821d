package bus

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// An acknowledgement that is lost lets a message come back that was handled: every handler bears that, but it is work
// for nothing. So acknowledgements are confirmed, as DoubleAck does it, but neither with a goroutine nor with an answer
// each. The server works off one connection's acknowledgements for one consumer in their order: its answer to one
// confirms all that were sent before it. So one answer is awaited at a time; what is acknowledged meanwhile is
// sent plainly, and confirmed by the next answer. After a reconnect everything unconfirmed is sent again first. Only an
// election between two acknowledgements escapes this: then a few messages come back.

const (
	// ackAgain is how long an answer may take before what it confirms is sent again.
	ackAgain = 2 * time.Second
	// ackFor is how long it is sent again. Then the server has delivered the messages to somebody else.
	ackFor = ackWait
)

var errAckLost = errors.New("the server did not confirm the acknowledgement: the message will come back")

// acks confirms the acknowledgements of one bus.
type acks struct {
	nc     *nats.Conn
	prefix string // of the addresses for answers
	sub    *nats.Subscription
	end    chan struct{}

	mu    sync.Mutex
	last  uint64
	lines map[string]*ackLine
}

func newAcks(nc *nats.Conn) (*acks, error) {
	a := &acks{nc: nc, prefix: nc.NewInbox() + ".", end: make(chan struct{}), lines: make(map[string]*ackLine)}
	sub, err := nc.Subscribe(a.prefix+"*.*", a.answer)
	if err != nil {
		return nil, fmt.Errorf("listen for confirmed acknowledgements: %w", err)
	}
	a.sub = sub
	go a.repeat()
	return a, nil
}

// line returns the acknowledgements of one consumer.
func (a *acks) line() *ackLine {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	l := &ackLine{acks: a, id: strconv.FormatUint(a.last, 36)}
	a.lines[l.id] = l
	return l
}

// answer takes one answer. One that only says that nobody listened is none: a leader is being elected.
func (a *acks) answer(msg *nats.Msg) {
	id, round, _ := strings.Cut(strings.TrimPrefix(msg.Subject, a.prefix), ".")
	if len(msg.Header) > 0 && msg.Header.Get("Status") != "" {
		return
	}
	a.mu.Lock()
	l := a.lines[id]
	a.mu.Unlock()
	if l != nil {
		l.answered(round)
	}
}

func (a *acks) repeat() {
	tick := time.NewTicker(ackAgain / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, l := range a.all() {
				l.again(time.Now())
			}
		case <-a.end:
			return
		}
	}
}

func (a *acks) all() []*ackLine {
	a.mu.Lock()
	defer a.mu.Unlock()
	lines := make([]*ackLine, 0, len(a.lines))
	for _, l := range a.lines {
		lines = append(lines, l)
	}
	return lines
}

// denied gives up what the server does not let this process acknowledge: rights are given per consumer.
func (a *acks) denied(denial *DeniedError) {
	for _, l := range a.all() {
		if l.concerns(denial.Subject) {
			l.giveUp(denial)
		}
	}
}

// close gives up what is not confirmed.
func (a *acks) close() {
	close(a.end)
	_ = a.sub.Unsubscribe()
	for _, l := range a.all() {
		l.close()
	}
}

// ackLine is the acknowledgements of one consumer, in the order in which they are sent.
type ackLine struct {
	acks *acks
	id   string

	mu    sync.Mutex
	held  []*delivery // acknowledged, and not confirmed
	asked int         // how many of them the awaited answer confirms; 0: none is awaited
	round uint64      // of the awaited answer
	since time.Time   // the answer is awaited
	sent  time.Time   // the question was sent last
	conns uint64      // reconnects before held was sent
}

// send acknowledges d. Its place in the window is free once the server has confirmed it, or when there is no hope left.
func (l *ackLine) send(d *delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, d)
	if l.asked > 0 {
		l.plain(d)
		return
	}
	l.ask(time.Now())
}

// plain acknowledges without an answer: an empty body is an acknowledgement. What is not sent is not confirmed, and is
// sent again.
func (l *ackLine) plain(d *delivery) { _ = l.acks.nc.Publish(d.msg.Reply(), nil) }

// ask acknowledges the last one with an answer, which confirms all; l.mu is held.
func (l *ackLine) ask(now time.Time) {
	if conns := l.acks.nc.Stats().Reconnects; conns != l.conns {
		l.conns = conns
		for _, d := range l.held[:len(l.held)-1] {
			l.plain(d)
		}
	}
	l.asked, l.since = len(l.held), now
	l.round++
	l.question(now)
}

// question sends the last acknowledgement of this round. It may be sent again: whichever answer comes, the round is
// confirmed.
func (l *ackLine) question(now time.Time) {
	l.sent = now
	address := l.acks.prefix + l.id + "." + strconv.FormatUint(l.round, 36)
	_ = l.acks.nc.PublishRequest(l.held[l.asked-1].msg.Reply(), address, nil)
}

func (l *ackLine) answered(round string) {
	l.mu.Lock()
	if l.asked == 0 || round != strconv.FormatUint(l.round, 36) {
		l.mu.Unlock()
		return
	}
	confirmed := l.held[:l.asked]
	l.held = slices.Clone(l.held[l.asked:])
	l.asked = 0
	if len(l.held) > 0 {
		l.ask(time.Now())
	}
	l.mu.Unlock()
	for _, d := range confirmed {
		d.release(nil)
	}
}

// again sends everything again that the server has not answered in time.
func (l *ackLine) again(now time.Time) {
	l.mu.Lock()
	if l.asked == 0 || now.Sub(l.sent) < ackAgain {
		l.mu.Unlock()
		return
	}
	if now.Sub(l.since) >= ackFor {
		l.mu.Unlock()
		l.giveUp(errAckLost)
		return
	}
	for _, d := range l.held[:l.asked-1] {
		l.plain(d)
	}
	l.question(now)
	l.mu.Unlock()
}

func (l *ackLine) concerns(subject string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.held, func(d *delivery) bool { return d.msg.Reply() == subject })
}

func (l *ackLine) giveUp(cause error) {
	l.mu.Lock()
	lost := l.held
	l.held, l.asked = nil, 0
	l.mu.Unlock()
	for _, d := range lost {
		d.release(cause)
	}
}

// close ends the line: what is not confirmed will come back.
func (l *ackLine) close() {
	l.acks.mu.Lock()
	delete(l.acks.lines, l.id)
	l.acks.mu.Unlock()
	l.giveUp(errAckLost)
}
