package mailbox

import (
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// RegistrationPhase is where a mailbox stands at Warmy.
type RegistrationPhase string

// The phases of a registration.
const (
	RegistrationNone RegistrationPhase = ""
	Posting          RegistrationPhase = "posting"    // the POST may be on its way
	Uncertain        RegistrationPhase = "unclear"    // the POST may have taken effect
	Registered       RegistrationPhase = "registered" // Warmy has it, under WarmyID
	RegistrationDead RegistrationPhase = "dead"       // Finding says why
)

// Registration is what warmy-worker knows of a mailbox. warmy-worker alone writes it.
type Registration struct {
	Phase    RegistrationPhase `json:"phase"`
	Attempt  string            `json:"attempt,omitempty"` // the consent attempt whose grant was posted
	Proof    *events.Proof     `json:"proof,omitempty"`
	Posts    int               `json:"posts,omitempty"`    // POSTs that may have taken effect
	Absences int               `json:"absences,omitempty"` // listings in a row that did not show the mailbox
	AbsentAt time.Time         `json:"absent_at,omitzero"`
	WarmyID  string            `json:"warmy_id,omitempty"`
	Adopted  bool              `json:"adopted,omitempty"` // found at Warmy, not answered to our POST
	Owner    string            `json:"owner,omitempty"`
	Lease    time.Time         `json:"lease,omitzero"`
	Since    time.Time         `json:"since"`
	Stage    string            `json:"stage,omitempty"`
	Finding  *Finding          `json:"finding,omitempty"`
}

// PostLease is how long a worker may hold an intent to post: the wait for its turn in the call budget, the call's
// deadline, the save, and a margin.
const PostLease = 2 * time.Minute

// MaxReposts bounds how often a mailbox is posted again after two clean absences.
const MaxReposts = 2

// Claim asks whether the mailbox may be posted by owner, now. An intent whose owner is gone is Uncertain, never a
// second try: the POST may have reached Warmy.
func (r Registration) Claim(e events.Event, owner string, now time.Time) (Registration, Verdict) {
	switch {
	case r.Phase == Registered && r.Attempt == e.Attempt:
		return r, Done
	case r.Phase == Uncertain:
		return r, Resume
	case r.Phase == Posting && now.Before(r.Lease):
		return r, Wait
	case r.Phase == Posting:
		return r.Unclear(interrupted(), now), Refuse
	}
	next := Registration{
		Phase: Posting, Attempt: e.Attempt, Proof: e.Proof, Posts: r.Posts + 1, WarmyID: r.WarmyID,
		Owner: owner, Lease: now.Add(PostLease).UTC(), Since: now.UTC(),
	}
	return next, Proceed
}

// NotPosted takes the intent back: the POST certainly had no effect.
func (r Registration) NotPosted(f *fault.Fault, now time.Time) Registration {
	r.Phase, r.Owner, r.Lease, r.Since = RegistrationNone, "", time.Time{}, now.UTC()
	r.Posts = max(0, r.Posts-1)
	r.Finding = Found(f, now)
	return r
}

// Unclear records that the POST may have taken effect.
func (r Registration) Unclear(f *fault.Fault, now time.Time) Registration {
	r.Phase, r.Owner, r.Lease, r.Since = Uncertain, "", time.Time{}, now.UTC()
	r.Absences, r.AbsentAt, r.Finding = 0, time.Time{}, Found(f, now)
	return r
}

// Created records that Warmy has the mailbox under id; adopted when a listing showed it.
func (r Registration) Created(id string, adopted bool, now time.Time) Registration {
	r.Phase, r.WarmyID, r.Adopted, r.Since = Registered, id, adopted, now.UTC()
	r.Owner, r.Lease, r.Finding, r.Absences, r.AbsentAt = "", time.Time{}, nil, 0, time.Time{}
	return r
}

// Absent records a listing that did not show the mailbox. Only the second one in a row, at least apart after the
// first, proves that the POST had no effect: Proceed then allows a new one. Wait asks for another listing; Refuse
// means that posting again was tried often enough.
func (r Registration) Absent(now time.Time, apart time.Duration) (Registration, Verdict) {
	if r.Absences > 0 && now.Before(r.AbsentAt.Add(apart)) {
		return r, Wait
	}
	r.Absences++
	r.AbsentAt = now.UTC()
	switch {
	case r.Absences < 2:
		return r, Wait
	case r.Posts > MaxReposts:
		return r, Refuse
	}
	r.Phase, r.Since, r.Absences = RegistrationNone, now.UTC(), 0
	return r, Proceed
}

// Bury records that the work on this registration was given up in the given lane.
func (r Registration) Bury(stage events.Lane, f *fault.Fault, now time.Time) Registration {
	r.Phase, r.Stage, r.Finding, r.Since = RegistrationDead, string(stage), Found(f, now), now.UTC()
	r.Owner, r.Lease = "", time.Time{}
	return r
}

func interrupted() *fault.Fault {
	return &fault.Fault{
		Class: fault.Unclear, Code: "post_interrupted", Forecast: fault.ByTime,
		Cause:  "the worker stopped between its decision to post and the answer",
		Remedy: "none: Warmy's listing settles it",
	}
}
