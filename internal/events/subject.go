package events

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Slots is the number of fair-share slots of an account's registrations. It is part of the subject and can
// only be changed with an empty lane (docs/adr/0003).
const Slots = 16

// Leg names a dependency as one work lane sees it: "microsoft/<app>" or "warmy/<account>".
func (e Event) Leg() string {
	switch e.Kind.Lane() {
	case Code, Refresh:
		return "microsoft/" + e.App
	case Register, Reconcile:
		return "warmy/" + e.Account
	}
	return ""
}

// legToken is the leg's token within a subject.
func (e Event) legToken() string {
	switch e.Kind.Lane() {
	case Code, Refresh:
		return e.App
	case Register, Reconcile:
		return e.Account
	}
	return ""
}

// Subject returns where e is published: "kindling.<lane>.<leg>.<mailbox>", with the campaign's slot before the mailbox
// in the register lane.
func (e Event) Subject() string {
	lane := e.Kind.Lane()
	if lane == Register {
		return fmt.Sprintf("kindling.%s.%s.%s.%s", lane, e.legToken(), Slot(e.Campaign), e.Mailbox)
	}
	return fmt.Sprintf("kindling.%s.%s.%s", lane, e.legToken(), e.Mailbox)
}

// TimerSubjects returns the subject under which e waits for its time, and the one under which it then comes due.
// One timer per event: a second one replaces the first. Events of another consent have timers of their own, but for idle
// grants: a mailbox has one timer for that, whatever becomes of its consents.
func (e Event) TimerSubjects() (at, due string) {
	last := e.ID
	if e.Kind == GrantIdle {
		last = idleToken
	}
	rest := fmt.Sprintf("%s.%s.%s.%s", e.Kind.Lane(), e.legToken(), e.Mailbox, last)
	return "kindling.at." + rest, "kindling.due." + rest
}

// idleToken ends the subjects of the timer of a mailbox's idle grant. No id is that short.
const idleToken = "idle"

// IdleFilter returns the subject filter of the timer of a mailbox's idle grant, waiting or due.
func IdleFilter(mailbox string) string {
	return fmt.Sprintf("kindling.*.%s.*.%s.%s", Refresh, mailbox, idleToken)
}

// IsIdleTimer reports whether a message under subject is the timer of an idle grant, and whether it came due.
func IsIdleTimer(subject string) (idle, due bool) {
	return strings.HasSuffix(subject, "."+idleToken), strings.HasPrefix(subject, "kindling.due.")
}

// Slot returns the fair-share slot of a campaign.
func Slot(campaign string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(campaign))
	return "s" + strconv.FormatUint(uint64(h.Sum32()%Slots), 10)
}

// LaneFilter returns the subject filter of a leg's share of a lane.
func LaneFilter(lane Lane, leg string) string { return fmt.Sprintf("kindling.%s.%s.>", lane, leg) }

// SlotFilter returns the subject filter of one slot, from 0, of an account's registrations.
func SlotFilter(account string, slot int) string {
	return fmt.Sprintf("kindling.%s.%s.s%d.>", Register, account, slot)
}

// DueFilter returns the subject filter of a leg's timers that came due.
func DueFilter(lane Lane, leg string) string { return fmt.Sprintf("kindling.due.%s.%s.>", lane, leg) }

// DeadSubject returns where the dead letter of e is kept.
func DeadSubject(lane Lane, class, mailbox string) string {
	return fmt.Sprintf("kindling.dead.%s.%s.%s", lane, class, mailbox)
}

// Agrees reports whether e may have been published under subject: a mismatch means a broken or a hostile producer.
func (e Event) Agrees(subject string) bool {
	_, due := e.TimerSubjects()
	return subject == e.Subject() || subject == due
}
