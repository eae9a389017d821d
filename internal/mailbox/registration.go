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
	// Elsewhere is the id that Warmy answered a POST with, beside another address than the invited one. A listing that does not
	// show the invited address proves nothing then: the mailbox is posted again by nobody but an operator's word.
	Elsewhere string    `json:"elsewhere,omitempty"`
	Adopted   bool      `json:"adopted,omitempty"` // found at Warmy, not answered to our POST
	Owner     string    `json:"owner,omitempty"`
	Lease     time.Time `json:"lease,omitzero"`
	Since     time.Time `json:"since"`
	Stage     string    `json:"stage,omitempty"`
	// Taken: Warmy said at our first POST that it had the address already, so the mailbox is none that we have made.
	Taken bool `json:"taken,omitempty"`
	// Unsettled goes with RegistrationDead: a POST may have taken effect, and no listing has settled it.
	Unsettled bool     `json:"unsettled,omitempty"`
	Finding   *Finding `json:"finding,omitempty"`
	// Refused is the event whose POST of Attempt's tokens Warmy called unusable first: they are refreshed once for that.
	Refused string `json:"refused,omitempty"`
	// Again goes with Registered: the POST of what Warmy has already, with what it is to use from then on. nil: never asked for.
	Again *Again `json:"again,omitempty"`
	// Holds is the identity that was claimed for the POST, as Who has it; "": none, or it is not known (docs/adr/0027).
	Holds string `json:"holds,omitempty"`
	// Activated is when the warm-up of WarmyID was started; zero: it was not, or not by us.
	Activated time.Time `json:"activated,omitzero"`
}

// PostLease is how long a worker may hold an intent to post: the call's deadline, the save, and a margin.
const PostLease = time.Minute

// MaxReposts bounds how often a mailbox is posted again after two clean absences.
const MaxReposts = 2

// Claim asks whether the mailbox may be posted by owner, now. An intent whose owner is gone is Uncertain, never a
// second try: the POST may have reached Warmy. What is registered is posted again only for a newer consent, or when an
// operator asks for it.
func (r Registration) Claim(e events.Event, owner string, now time.Time) (Registration, Verdict) {
	switch {
	case r.Phase == Registered:
		return r.claimAgain(e, owner, now)
	case r.Phase == Uncertain:
		return r, Resume
	case r.Phase == Posting && now.Before(r.Lease):
		return r, Wait
	case r.Phase == Posting:
		return r.Unclear(interrupted(), now), Refuse
	case r.open():
		return r.Reopen(now), Refuse
	}
	if r.Attempt != e.Attempt {
		r.Posts, r.Refused = 0, "" // what an earlier consent's POSTs did is settled
	}
	next := Registration{
		Phase: Posting, Attempt: e.Attempt, Proof: e.Proof, Posts: r.Posts + 1, WarmyID: r.WarmyID, Refused: r.Refused, Taken: r.Taken,
		Owner: owner, Lease: now.Add(PostLease).UTC(), Since: now.UTC(),
	}
	return next, Proceed
}

// Leased starts the lease of a claimed registration anew, because only now the POST is about to be sent.
func (r Registration) Leased(now time.Time) Registration {
	if next, again := r.again(func(w Registration) Registration { return w.Leased(now) }); again {
		return next
	}
	r.Lease, r.Since = now.Add(PostLease).UTC(), now.UTC()
	return r
}

// NotPosted takes the intent back: the POST certainly had no effect.
func (r Registration) NotPosted(f *fault.Fault, now time.Time) Registration {
	if next, again := r.again(func(w Registration) Registration { return w.NotPosted(f, now) }); again {
		return next
	}
	r.Phase, r.Owner, r.Lease, r.Since = RegistrationNone, "", time.Time{}, now.UTC()
	r.Posts = max(0, r.Posts-1)
	r.Finding = Found(f, now)
	return r
}

// Unclear records that the POST may have taken effect.
func (r Registration) Unclear(f *fault.Fault, now time.Time) Registration {
	if next, again := r.again(func(w Registration) Registration { return w.Unclear(f, now) }); again {
		return next
	}
	r.Taken = f.Code == CodeTaken && (r.Taken || r.Posts <= 1)
	r.Phase, r.Owner, r.Lease, r.Since = Uncertain, "", time.Time{}, now.UTC()
	r.Absences, r.AbsentAt, r.Finding = 0, time.Time{}, Found(f, now)
	return r
}

// AnsweredElsewhere records that Warmy has answered the POST with an id, but named another address than the invited one: it may
// be the mailbox, under an alias. Of a mailbox that had this id before it is.
func (r Registration) AnsweredElsewhere(id string, f *fault.Fault, now time.Time) Registration {
	r.Elsewhere = id
	if r.Phase == Registered && r.WarmyID == id {
		return r.Created(id, false, now)
	}
	return r.Unclear(f, now)
}

// Created records that Warmy has the mailbox under id; adopted when a listing showed it. An id that Warmy answered with
// beside another address is not forgotten because the listing shows this one: the mailbox may be there twice.
func (r Registration) Created(id string, adopted bool, now time.Time) Registration {
	other := r.Elsewhere
	if other == id {
		other = ""
	}
	if adopted {
		r.Elsewhere = ""
	}
	if r.Again != nil && r.Phase == Registered {
		r = r.createdAgain(id, adopted, now)
	} else if r = r.created(id, adopted, now); !adopted && other != "" {
		r.Elsewhere = ""
		return r.Second(other, now)
	}
	switch {
	case !adopted || other == "":
		return r
	case r.Two() && r.Again.OtherID != other:
		r.Elsewhere = other // there is room for one second id
		return r
	}
	return r.two(other, now)
}

func (r Registration) created(id string, adopted bool, now time.Time) Registration {
	r.Taken = r.Taken && adopted
	r.Phase, r.WarmyID, r.Adopted, r.Since = Registered, id, adopted, now.UTC()
	r.Owner, r.Lease, r.Finding, r.Absences, r.AbsentAt = "", time.Time{}, nil, 0, time.Time{}
	r.Stage, r.Unsettled, r.Refused = "", false, ""
	return r
}

// Unusable records that Warmy could not use the tokens that the event was to register, and that they are to be refreshed
// for it. ok is false when that was done for them before.
func (r Registration) Unusable(event string) (next Registration, ok bool) {
	if r.Work().Refused != "" {
		return r, false
	}
	next, again := r.again(func(w Registration) Registration { w.Refused = event; return w })
	if !again {
		next.Refused = event
	}
	return next, true
}

// Inactive reports whether Warmy has made the mailbox for us and its warm-up was not started since. A mailbox that was only told
// again what to use, or that Warmy had before we came, is left as its operator wants it.
func (r Registration) Inactive() bool {
	made := r.Again == nil || r.Again.Former != "" && r.Again.Work.Phase == Registered
	return made && r.Startable() && !r.Work().Taken
}

// Startable reports whether the warm-up of the mailbox can be started and was not started by us.
func (r Registration) Startable() bool {
	return r.Phase == Registered && r.WarmyID != "" && r.Activated.IsZero()
}

// Activate records that the warm-up of the mailbox was started.
func (r Registration) Activate(now time.Time) Registration {
	r.Activated = now.UTC()
	return r
}

// open reports whether the work was given up before a listing had settled a POST.
func (r Registration) open() bool { return r.Phase == RegistrationDead && r.Unsettled }

// Unresolved reports whether a POST may have taken effect that nothing has settled yet.
func (r Registration) Unresolved() bool {
	w := r.Work()
	return w.Phase == Uncertain || w.open()
}

// DeclaredAs records an operator's word that Warmy has the mailbox under id, whatever other id Warmy has answered with.
func (r Registration) DeclaredAs(id string, now time.Time) Registration {
	elsewhere := r.Elsewhere
	r.Elsewhere = ""
	r = r.Recheck(now).Relisted(id, now)
	if elsewhere == id {
		r.Elsewhere = id // the listing will not show it any better from now on
	}
	return r
}

// DeclaredAbsent records an operator's word that the last POST had no effect: it may be posted again, and how often it was
// counts on. A second id that this POST was answered with is not there, then.
func (r Registration) DeclaredAbsent(now time.Time) Registration {
	r = r.Recheck(now).one()
	r.Elsewhere = ""
	if next, again := r.again(func(w Registration) Registration { return w.DeclaredAbsent(now) }); again {
		return next
	}
	r.Phase, r.Since, r.AbsentAt, r.Absences = RegistrationNone, now.UTC(), now.UTC(), 0
	r.Stage, r.Unsettled, r.Finding = "", false, nil
	return r
}

// Reopen makes a registration Uncertain again whose work was given up before a listing had settled its POST; any
// other is returned unchanged. It allows one more POST after two clean absences, however many there were.
func (r Registration) Reopen(now time.Time) Registration {
	if next, again := r.again(func(w Registration) Registration { return w.Reopen(now) }); again {
		return next
	}
	if !r.open() {
		return r
	}
	r.Phase, r.Since, r.Stage, r.Unsettled = Uncertain, now.UTC(), "", false
	r.Absences, r.AbsentAt, r.Posts = 0, time.Time{}, min(r.Posts, MaxReposts)
	return r
}

// ProvenAbsent reports whether two clean absences have allowed a new POST, and nobody has begun it yet.
func (r Registration) ProvenAbsent() bool {
	r = r.Work()
	return r.Phase == RegistrationNone && !r.AbsentAt.IsZero()
}

// Absent records a listing that began at began and did not show the mailbox. Only the second one in a row, at least apart after the
// first, proves that the POST had no effect: Proceed then allows a new one. Wait asks for another listing; Refuse
// means that posting again was tried often enough, or that Warmy has answered with an id that the listing should have shown.
func (r Registration) Absent(began time.Time, apart time.Duration) (Registration, Verdict) {
	if r.Again != nil && r.Phase == Registered {
		return r.absentAgain(began, apart)
	}
	return r.absent(began, apart, r.Elsewhere != "")
}

// CodeTaken is the code of the fault of a POST that Warmy did not take because it has the address already.
const CodeTaken = "warmy_taken"

// TakenElsewhere reports whether Warmy's last word about an unclear POST was that it has the address already: what no listing of
// the account shows then is somewhere else at Warmy, and another POST would be answered the same.
func (r Registration) TakenElsewhere() bool {
	w := r.Work()
	return w.Phase == Uncertain && w.Finding != nil && w.Finding.Code == CodeTaken
}

// absent is Absent of the machine that r is; answered tells that Warmy has named an id.
func (r Registration) absent(began time.Time, apart time.Duration, answered bool) (Registration, Verdict) {
	if r.Absences > 0 && began.Before(r.AbsentAt.Add(apart)) {
		return r, Wait
	}
	r.Absences++
	r.AbsentAt = began.UTC()
	switch {
	case r.Absences < 2:
		return r, Wait
	case answered, r.Posts > MaxReposts, r.TakenElsewhere():
		return r, Refuse
	}
	r.Phase, r.Since, r.Absences = RegistrationNone, began.UTC(), 0
	return r, Proceed
}

// Bury records that the work on e was given up. It returns the registration unchanged if that is no news of it: what
// is registered stays registered, and a late event of the reconcile lane says nothing about a POST under way. A POST that is
// unsettled stays the one of the attempt that it was made for, whichever attempt's event is given up over it.
func (r Registration) Bury(e events.Event, f *fault.Fault, now time.Time) Registration {
	if next, again := r.again(func(w Registration) Registration { return w.Bury(e, f, now) }); again {
		return next
	}
	uncertain := r.Phase == Uncertain || r.open()
	switch {
	case r.Phase == Registered:
		return r
	case e.Kind.Lane() == events.Reconcile && !uncertain && !r.ProvenAbsent():
		return r
	}
	r.Unsettled = uncertain || r.Phase == Posting
	if r.Attempt == e.Attempt && e.Proof != nil || r.Attempt != e.Attempt && !r.Unsettled {
		r.Attempt, r.Proof = e.Attempt, e.Proof // the proof is of the attempt's grant, never of an earlier one's
	}
	r.Phase, r.Stage = RegistrationDead, string(e.Kind.Lane())
	r.Finding, r.Since, r.Owner, r.Lease = Found(f, now), now.UTC(), "", time.Time{}
	return r
}

func interrupted() *fault.Fault {
	return &fault.Fault{
		Class: fault.Unclear, Code: "post_interrupted", Forecast: fault.ByTime,
		Cause:  "the worker stopped between its decision to post and the answer",
		Remedy: "none: Warmy's listing settles it",
	}
}
