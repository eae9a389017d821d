package roster

import (
	"time"

	"kindling/internal/mailbox"
)

// kind is a state with its reason, and the way that the mailbox takes, as numbers.
type kind struct {
	state                uint8
	reason, app, account uint16
}

// kindOf is the kind under which e is counted.
func kindOf(e *entry) kind { return kind{e.state, e.reason, e.app, e.account} }

// tally counts mailboxes by kind.
type tally map[kind]int

func (t tally) add(k kind, n int) {
	t[k] += n
	if t[k] == 0 {
		delete(t, k)
	}
}

func (r *Roster) counts(t tally) Counts {
	c := Counts{ByState: map[mailbox.State]int{}, ByReason: map[string]int{}}
	states := mailbox.States()
	for _, s := range states {
		c.ByState[s] = 0
	}
	for k, n := range t {
		state := states[k.state]
		c.Total += n
		c.ByState[state] += n
		if reason := r.narrow.text(uint32(k.reason)); reason != "" {
			c.ByReason[string(state)+"/"+reason] += n
		}
	}
	return c
}

// pace counts registrations by minute of the last hour.
type pace [60]struct {
	minute int64
	count  int
}

func (p *pace) count(at, now time.Time) {
	minute := at.Unix() / 60
	if age := now.Unix()/60 - minute; age < 0 || age >= int64(len(p)) {
		return
	}
	slot := &p[minute%int64(len(p))]
	if slot.minute != minute {
		slot.minute, slot.count = minute, 0
	}
	slot.count++
}

func (p *pace) sum(minutes int, now time.Time) int {
	total := 0
	for _, slot := range p {
		if age := now.Unix()/60 - slot.minute; age >= 0 && age < int64(minutes) {
			total += slot.count
		}
	}
	return total
}
