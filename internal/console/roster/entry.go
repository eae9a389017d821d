package roster

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"kindling/internal/mailbox"
)

const (
	idSize    = 24 // characters of a mailbox id
	chunkSize = 4096
)

// entry is all that lists and counts need of a mailbox, in about 170 bytes and one string. Times are milliseconds since
// 1970, 0 for none; names are numbers of the tables; attempts are known by a hash that is only compared.
type entry struct {
	text string // address, external id and Warmy id, separated by NUL

	invited, expires, erased    int64
	accepted                    int64 // an operator's word about another account
	answered                    int64 // the latest answer to an attempt
	grantSince, codeAt, savedAt int64
	registrationSince, told     int64 // told: the last step of a POST made again

	attempt, grantAttempt, tokenAttempt, registrationAttempt uint32

	campaign, tenant, plan, line       uint32
	grantFinding, registrationFinding  uint32
	due, fromName                      uint32 // fromName: its mark
	directory                          uint32 // whose admin must allow it, as app NUL tenant; 0: nobody
	app, account, speed, generation    uint16
	attemptRefusal, grantReason        uint16
	grantPhase, grantStage             uint16
	registrationPhase, registrationEnd uint16
	againPhase                         uint16 // with told; the finding is then of that POST
	reason                             uint16 // with state: what the counts hold
	state                              uint8
	tokens                             bool // are stored, since savedAt
	counted                            bool
	two                                bool // Warmy may have it twice
	unsettled                          bool // the registration was given up before a POST was settled
	id                                 [idSize]byte
}

func (e *entry) name() string { return strings.TrimRight(string(e.id[:]), "\x00") }

func (e *entry) texts() (address, externalID, warmyID string) {
	address, rest, _ := strings.Cut(e.text, "\x00")
	externalID, warmyID, _ = strings.Cut(rest, "\x00")
	return address, externalID, warmyID
}

func (e *entry) setTexts(address, externalID, warmyID string) {
	clean := strings.NewReplacer("\x00", "")
	e.text = clean.Replace(address) + "\x00" + clean.Replace(externalID) + "\x00" + clean.Replace(warmyID)
}

func (r *Roster) short(name string) uint16 {
	return uint16(r.narrow.id(name)) //nolint:gosec // the table is bounded to 16 bits
}

func (r *Roster) putInvitation(e *entry, i mailbox.Invitation) {
	_, _, warmyID := e.texts()
	e.setTexts(i.Address, i.ExternalID, warmyID)
	e.invited, e.expires, e.erased = max(1, toMilli(i.InvitedAt)), toMilli(i.LinkExpiresAt), toMilli(i.ErasedAt)
	e.app, e.account, e.speed = r.short(i.App), r.short(i.Account), r.short(i.SpeedMode)
	e.tenant, e.fromName, e.directory = r.wide.id(i.Tenant), mark(i.FromName), r.directoryOf(i)
	e.plan, e.line = uint32(max(0, i.TariffPlanTypeID)), uint32(max(0, i.Line)) //nolint:gosec // checked at the import
	e.accepted = 0
	if i.Accepted != nil {
		e.accepted = toMilli(i.Accepted.At)
	}
	e.generation = uint16(min(max(0, i.LinkGeneration), 1<<16-1))
}

func (r *Roster) putClaim(e *entry, c mailbox.Claim) {
	latest, ok := c.Latest()
	if !ok {
		e.attempt, e.answered, e.attemptRefusal = 0, 0, 0
		return
	}
	e.attempt, e.answered, e.attemptRefusal = mark(latest.ID), toMilli(latest.AnsweredAt), r.short(latest.Refusal)
}

func (r *Roster) putGrant(e *entry, g mailbox.Grant) {
	e.grantPhase, e.grantReason, e.grantStage = r.short(string(g.Phase)), r.short(g.Reason), r.short(g.Stage)
	e.grantAttempt, e.grantSince, e.codeAt = mark(g.Attempt), toMilli(g.Since), toMilli(g.CodeAt)
	e.grantFinding = r.findings.id(g.Finding)
	e.tokens, e.tokenAttempt, e.savedAt = false, 0, 0
	if g.Tokens != nil {
		e.tokens, e.tokenAttempt, e.savedAt = true, mark(g.Tokens.Attempt), toMilli(g.Tokens.SavedAt)
	}
}

func (r *Roster) putRegistration(e *entry, reg mailbox.Registration) {
	address, externalID, _ := e.texts()
	e.setTexts(address, externalID, reg.WarmyID)
	e.registrationPhase, e.registrationEnd = r.short(string(reg.Phase)), r.short(reg.Stage)
	e.registrationAttempt, e.registrationSince = mark(reg.Attempt), toMilli(reg.Since)
	e.registrationFinding = r.findings.id(reg.Finding)
	e.told, e.againPhase, e.two, e.unsettled = 0, 0, false, reg.Unsettled
	if reg.Phase == mailbox.Registered && reg.Again != nil {
		work := reg.Work()
		e.told, e.againPhase, e.two = max(1, toMilli(work.Since)), r.short(string(work.Phase)), reg.Two()
		e.registrationFinding = r.findings.id(work.Finding)
	}
}

// facts gives back as much of the facts as mailbox.View looks at.
func (r *Roster) facts(e *entry) mailbox.Facts {
	_, _, warmyID := e.texts()
	f := mailbox.Facts{
		Invitation: mailbox.Invitation{
			InvitedAt: fromMilli(e.invited), LinkExpiresAt: fromMilli(e.expires), ErasedAt: fromMilli(e.erased),
		},
		Grant: mailbox.Grant{
			Phase: mailbox.GrantPhase(r.narrow.text(uint32(e.grantPhase))), Reason: r.narrow.text(uint32(e.grantReason)),
			Stage: r.narrow.text(uint32(e.grantStage)), Attempt: markText(e.grantAttempt),
			Since: fromMilli(e.grantSince), CodeAt: fromMilli(e.codeAt), Finding: r.findings.at(e.grantFinding),
		},
		Registration: mailbox.Registration{
			Phase: mailbox.RegistrationPhase(r.narrow.text(uint32(e.registrationPhase))), WarmyID: warmyID,
			Stage: r.narrow.text(uint32(e.registrationEnd)), Attempt: markText(e.registrationAttempt),
			Since: fromMilli(e.registrationSince), Finding: r.findings.at(e.registrationFinding), Unsettled: e.unsettled,
		},
	}
	if e.told != 0 {
		f.Registration.Again = r.again(e)
		f.Registration.Finding = nil
	}
	if e.accepted != 0 {
		f.Invitation.Accepted = &mailbox.Acceptance{At: fromMilli(e.accepted)}
	}
	if e.answered != 0 {
		f.Claim.Attempts = []mailbox.Attempt{{
			ID: markText(e.attempt), Refusal: r.narrow.text(uint32(e.attemptRefusal)), AnsweredAt: fromMilli(e.answered),
		}}
	}
	if e.tokens {
		f.Grant.Tokens = &mailbox.Tokens{Attempt: markText(e.tokenAttempt), SavedAt: fromMilli(e.savedAt)}
	}
	return f
}

func (r *Roster) again(e *entry) *mailbox.Again {
	a := mailbox.Again{Work: mailbox.Registration{
		Phase: mailbox.RegistrationPhase(r.narrow.text(uint32(e.againPhase))), Since: fromMilli(e.told), Finding: r.findings.at(e.registrationFinding),
	}}
	if e.two {
		a.OtherID = "another"
	}
	return &a
}

// mark is what is kept of an attempt's id: enough to tell whether two facts speak of the same one. A wrong match
// (1 in 4 billion) can only show one mailbox a step too far.
func mark(attempt string) uint32 {
	if attempt == "" {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(attempt))
	return max(1, h.Sum32())
}

func markText(m uint32) string {
	if m == 0 {
		return ""
	}
	return string(binary.LittleEndian.AppendUint32(nil, m))
}

func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func stateIndex(s mailbox.State) uint8 {
	return uint8(max(0, slices.Index(mailbox.States(), s))) //nolint:gosec // eleven states
}

// names gives texts of a small set a number. Number 0 is the empty text, and what a full table answers.
type names struct {
	limit int
	ids   map[string]uint32
	texts []string
}

func newNames(limit int) *names {
	return &names{limit: limit, ids: map[string]uint32{"": 0}, texts: []string{""}}
}

func (n *names) id(text string) uint32 {
	id, ok := n.ids[text]
	if ok || len(n.texts) >= n.limit {
		return id
	}
	id = uint32(len(n.texts)) //nolint:gosec // bounded by limit
	text = strings.Clone(text)
	n.ids[text], n.texts = id, append(n.texts, text)
	return id
}

func (n *names) text(id uint32) string { return n.texts[id] }

// findings keeps every distinct finding once, without its time: they come from closed tables.
type findings struct {
	ids  map[mailbox.Finding]uint32
	list []*mailbox.Finding
}

// maxFindings bounds the distinct findings; above it only class, code and forecast are kept.
const maxFindings = 20_000

func newFindings() *findings {
	return &findings{ids: map[mailbox.Finding]uint32{}, list: []*mailbox.Finding{nil}}
}

func (f *findings) id(given *mailbox.Finding) uint32 {
	if given == nil {
		return 0
	}
	key := *given
	key.At = time.Time{}
	if _, ok := f.ids[key]; !ok && len(f.list) >= maxFindings {
		key = mailbox.Finding{Class: key.Class, Code: key.Code, Forecast: key.Forecast}
	}
	id, ok := f.ids[key]
	if !ok && len(f.list) < 2*maxFindings {
		id = uint32(len(f.list)) //nolint:gosec // bounded above
		f.ids[key], f.list = id, append(f.list, &key)
	}
	return id
}

func (f *findings) at(id uint32) *mailbox.Finding { return f.list[id] }
