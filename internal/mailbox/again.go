package mailbox

import (
	"slices"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// Again is a POST of a mailbox that Warmy has already: Warmy takes new tokens, and a new client secret, by no other way
// (docs/adr/0025). Whether that POST changes the mailbox or makes a second one is not documented, so it is a machine of its
// own, with the rules of the first, and the registration keeps what it knows whatever comes of it.
type Again struct {
	Work    Registration `json:"work"`                // Registered: done; RegistrationNone: asked for
	Request string       `json:"request,omitempty"`   // the operator's event that asked last
	Gone    bool         `json:"gone,omitempty"`      // two listings did not show it: the next POST makes it anew
	OtherID string       `json:"other_id,omitempty"`  // a second id that Warmy has answered with, not settled yet
	Former  string       `json:"former_id,omitempty"` // Warmy's id before another one took its place
}

// Work returns the registration whose POST is, or was last, under way: the one made again, if any.
func (r Registration) Work() Registration {
	if r.Phase == Registered && r.Again != nil {
		return r.Again.Work
	}
	return r
}

// again changes the POST made again, if there is one.
func (r Registration) again(change func(Registration) Registration) (next Registration, ok bool) {
	if r.Phase != Registered || r.Again == nil {
		return r, false
	}
	a := *r.Again
	a.Work = change(a.Work)
	return r.with(a), true
}

func (r Registration) with(a Again) Registration {
	if r.Again == nil || *r.Again != a {
		r.Again = &a
	}
	return r
}

// claimAgain is Claim of what is registered.
func (r Registration) claimAgain(e events.Event, owner string, now time.Time) (Registration, Verdict) {
	a, due := r.dueAgain(e)
	if !due || r.Blocks(e) {
		return r, Done
	}
	if a.Work.Phase == Uncertain && a.another(e) {
		return r, Wait // it wants a POST of its own, which can only begin when the listing has settled the last one
	}
	work, verdict := a.Work.Claim(e, owner, now)
	if verdict != Proceed && verdict != Refuse {
		return r, verdict
	}
	a.Work = work
	return r.with(a), verdict
}

// Blocks reports whether e asks for a POST that must not begin: Warmy has answered with a second id, no listing is asked for
// that could settle which one counts, and a third POST may make a third mailbox. A person has to look first.
func (r Registration) Blocks(e events.Event) bool {
	if !r.Two() {
		return false
	}
	a, due := r.dueAgain(e)
	listed := a.Work.Phase == Posting || a.Work.Phase == Uncertain || a.Work.open() && !a.another(e)
	return due && !listed
}

// another reports whether e is an operator's request that the POST under way, or made last, was not made for.
func (a Again) another(e events.Event) bool {
	return e.Kind == events.ReconnectRequested && a.Request != e.ID
}

// Asks reports whether e asks for a POST of its own that the one that is unsettled now cannot stand for: e must come again.
func (r Registration) Asks(e events.Event) bool {
	return r.Phase == Registered && r.Again != nil && r.Unresolved() && r.Again.another(e)
}

// GivenUpSince reports whether the work on a POST was given up after t, before a listing had settled it.
func (r Registration) GivenUpSince(t time.Time) bool {
	w := r.Work()
	return w.open() && w.Since.After(t)
}

// dueAgain reports whether e asks for a POST that was not made yet, and returns the work as e finds it:
//
//	the POST made again is        an operator's request                 any other event
//	never asked for, or done      begins anew, unless it was answered   begins anew for another consent alone
//	asked for, or given up        goes on, and is its own from now on   goes on
//	under way, or unsettled       goes on as it is                      goes on as it is
//
// A redelivery was answered, and so was the replay of a request that was made before the last POST.
func (r Registration) dueAgain(e events.Event) (Again, bool) {
	var a Again
	if r.Again != nil {
		a = *r.Again
	}
	switch {
	case r.Again == nil, a.Work.Phase == Registered:
		return a.anew(e), a.begins(e, r.Attempt)
	case a.another(e) && !a.Work.open() && (a.Work.Phase == RegistrationNone || a.Work.Phase == RegistrationDead):
		a.Request, a.Work.Refused = e.ID, "" // an operator may have put right what stood in the way
	}
	return a, true
}

// begins reports whether e asks for a POST of what was told Warmy last for the given consent, and nothing is left to do for.
func (a Again) begins(e events.Event, told string) bool {
	if e.Kind != events.ReconnectRequested {
		return e.Attempt != told
	}
	late := !e.Renewed.IsZero() && !a.Work.Since.Before(e.At)
	return a.Request != e.ID && !late
}

// anew is the POST that e asks for, before anything was done for it.
func (a Again) anew(e events.Event) Again {
	a.Work, a.Gone = Registration{}, false
	if e.Kind == events.ReconnectRequested {
		a.Request = e.ID
	}
	return a
}

// Wants records that e asks for a POST of what is registered, before its tokens are made ready; ok is false when it does
// not.
func (r Registration) Wants(e events.Event, now time.Time) (next Registration, ok bool) {
	a, due := r.dueAgain(e)
	if r.Phase != Registered || !due || r.Two() || a.Work.Phase == Posting || a.Work.Phase == Uncertain || a.Work.open() {
		return r, false
	}
	wanted := Registration{Attempt: e.Attempt, Proof: e.Proof, Since: now.UTC()}
	if a.Work.Attempt == e.Attempt {
		wanted.Posts, wanted.Refused = a.Work.Posts, a.Work.Refused
	}
	a.Work = wanted
	return r.with(a), true
}

// createdAgain records Warmy's answer, or its listing, about a mailbox that it had before. A second id never takes the
// place of the known one unless a complete listing shows it alone, and is known until a listing shows it, or somebody knows
// which one counts.
func (r Registration) createdAgain(id string, adopted bool, now time.Time) Registration {
	a := *r.Again
	switch {
	case !adopted && id != r.WarmyID && !a.Gone:
		a.OtherID, a.Work = id, a.Work.Unclear(secondID(id), now)
		return r.with(a)
	case id != r.WarmyID:
		a.Former = r.WarmyID
		r.WarmyID, r.Activated = id, time.Time{}
	}
	if a.OtherID == id {
		a.OtherID = ""
	}
	a.Work = a.Work.Created(id, adopted, now)
	switch {
	case a.OtherID != "":
		a.Work.Finding = Found(secondID(a.OtherID), now)
	case adopted:
		a.Work.Finding = Found(unproven(), now)
	}
	if a.Work.Attempt != "" {
		r.Attempt, r.Proof = a.Work.Attempt, a.Work.Proof
	}
	return r.with(a)
}

// absentAgain is Absent of a mailbox that Warmy had before. An id that Warmy has answered with is never posted over.
func (r Registration) absentAgain(began time.Time, apart time.Duration) (Registration, Verdict) {
	a := *r.Again
	work, verdict := a.Work.absent(began, apart, r.Elsewhere != "" || a.OtherID != "")
	a.Work, a.Gone = work, a.Gone || verdict == Proceed
	return r.with(a), verdict
}

// Second records that Warmy has answered with another id than the one that somebody else has settled meanwhile: the listing
// tells which one counts, or that Warmy has the mailbox twice.
func (r Registration) Second(id string, now time.Time) Registration {
	r = r.two(id, now)
	a := *r.Again
	a.Work = a.Work.Unclear(secondID(id), now)
	return r.with(a)
}

// Answered adds the id that Warmy has answered a POST of attempt with to what r is by now: what record makes of it, unless
// others have settled the mailbox meanwhile. ok is false where r has no room for it, because it knows two already, or is about
// a newer consent's POST: then a person must be told of the id.
func (r Registration) Answered(
	attempt, id string, record func(Registration) Registration, now time.Time,
) (next Registration, ok bool) {
	work := r.Work()
	switch {
	case r.Phase == Registered && r.WarmyID == id && (work.Phase == Registered || work.Attempt != attempt):
		return r, true // somebody else has settled it
	case work.Phase == Registered:
		next = r.Second(id, now)
	case work.Attempt != attempt:
		return r, false
	default:
		next = record(r)
	}
	if r.loses(next, id) {
		return r, false
	}
	return next, true
}

// loses reports whether next has no room for an id that r knows, or for id: a registration keeps one second id and one of
// another address.
func (r Registration) loses(next Registration, id string) bool {
	keeps := next.ids()
	if next.Again != nil {
		keeps = append(keeps, next.Again.Former)
	}
	return slices.ContainsFunc(append(r.ids(), id), func(known string) bool { return !slices.Contains(keeps, known) })
}

// ids are the ids that Warmy has answered with, or listed, and nothing has settled as gone.
func (r Registration) ids() []string {
	ids := []string{"", r.WarmyID, r.Elsewhere}
	if r.Again != nil {
		ids = append(ids, r.Again.OtherID)
	}
	return ids
}

// two records a second id of what is registered. There must be room for it.
func (r Registration) two(id string, now time.Time) Registration {
	a := Again{Work: Registration{Phase: Registered, Attempt: r.Attempt, Proof: r.Proof, Posts: r.Posts, Since: now.UTC()}}
	if r.Again != nil {
		a = *r.Again
	}
	a.OtherID, a.Work.Finding = id, Found(secondID(id), now)
	return r.with(a)
}

// Two reports whether Warmy has answered with a second id and nothing has settled which one counts.
func (r Registration) Two() bool {
	return r.Phase == Registered && r.Again != nil && r.Again.OtherID != ""
}

// one forgets a second id, because somebody knows which one counts.
func (r Registration) one() Registration {
	if !r.Two() {
		return r
	}
	a := *r.Again
	a.OtherID = ""
	return r.with(a)
}

// Recheck lets the listing settle which of two ids counts, after an operator has looked: he may have removed one of them.
// Neither is forgotten before a listing has shown one (Relisted). What an earlier version has begun beside two ids, and not
// posted, is put off: whoever asked for it asks again.
func (r Registration) Recheck(now time.Time) Registration {
	if !r.Two() {
		return r
	}
	a := *r.Again
	switch {
	case a.Work.Phase == Posting, a.Work.Phase == Uncertain, a.Work.open():
		return r
	case a.Work.Phase != Registered:
		a.Work = Registration{Attempt: r.Attempt, Proof: r.Proof, Posts: a.Work.Posts}
	}
	a.Work = a.Work.Unclear(secondID(a.OtherID), now)
	return r.with(a)
}

// Relisted records that the listing shows id to an operator who has looked: the other one is there no more.
func (r Registration) Relisted(id string, now time.Time) Registration {
	return r.one().Created(id, true, now)
}

// SecondID is the fault of a mailbox that Warmy may have twice; id is the one that Warmy has answered with beside the known one.
func SecondID(id string) *fault.Fault {
	f := secondID(id)
	f.Class, f.Forecast = fault.Permanent, fault.ByConfig
	return f
}

func secondID(id string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Unclear, Code: "warmy_second_id", Forecast: fault.ByTime,
		Cause:  "Warmy answered with another id than the one that the mailbox had: " + id,
		Remedy: "look the address up in Warmy; if it is there twice, remove the older one, then replay",
	}
}

// Blocked is the fault of what asks for a POST while Warmy may have the mailbox twice.
func Blocked(id string) *fault.Fault {
	f := SecondID(id)
	f.Remedy = "say which id counts (kindling mailbox adopt), or replay the dead letter of the reconcile lane; " +
		"then replay this one, or reconnect the mailbox again if an operator asked for it"
	return f
}

// OtherAddress is the fault of a mailbox that Warmy may have under another address than the invited one, where no listing can
// settle it.
func OtherAddress(id string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Permanent, Code: "warmy_other_address", Forecast: fault.ByConfig,
		Cause: "Warmy answered the POST with the id " + id + " and another address, and its listing does not show the invited one",
		Remedy: "compare the mailbox at Warmy; if it is this one, adopt its id (kindling mailbox adopt --warmy-id " + id +
			"), else remove it there and declare the POST absent with --force",
	}
}

func unproven() *fault.Fault {
	return &fault.Fault{
		Class: fault.Unclear, Code: "warmy_reconnect_unproven", Forecast: fault.ByPerson,
		Cause:  "Warmy has the mailbox, but did not say whether it took the new tokens",
		Remedy: "look at the mailbox in Warmy; if it asks to be reconnected, reconnect it once more",
	}
}

// viewRegistered is the status of a mailbox that Warmy has: whatever becomes of a POST made again, Warmy has it.
func (f Facts) viewRegistered() Status {
	r := f.Registration
	s := Status{State: StateRegistered, Since: r.Since, Two: r.Two()}
	work := r.Work()
	if r.Again != nil {
		s.Told = work.Since
	}
	switch {
	case r.Again == nil:
	case work.Phase == RegistrationDead, work.Phase == Registered && r.Two():
		s.Reason, s.Finding = ReconnectFailed, work.Finding
		return s
	case work.Phase != Registered:
		s.Reason, s.Finding = Reconnecting, work.Finding
		return s
	}
	if t := f.Grant.Tokens; t != nil && r.Attempt != "" && t.Attempt != r.Attempt {
		s.Reason = ReconnectDue
	} else if r.Again != nil && work.Finding != nil {
		s.Reason, s.Finding = ReconnectUnsure, work.Finding
	}
	return s
}
