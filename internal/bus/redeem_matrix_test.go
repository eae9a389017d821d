package bus_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/mailbox"
)

// ending is what must be true of a mailbox when everything has recovered.
type ending struct {
	state  mailbox.State
	reason string // with StateNeedsConsent
	code   string // of the finding
	sends  int    // of the code
}

var (
	grantedAtOnce = ending{state: mailbox.StateGranted, sends: 1}
	// The code was spent and its tokens died with the worker: the second send finds that out.
	consentLost = ending{state: mailbox.StateNeedsConsent, reason: mailbox.ConsentLost, code: "consent_lost", sends: 2}
	// The stopped worker holds the only tokens, and another one sends the code again: Microsoft revokes them. They are saved
	// all the same when the first one wakes, because Microsoft need not revoke, and the proof finds that they are dead.
	revokedLate = ending{state: mailbox.StateDead, code: "graph_401", sends: 2}
)

// redeemEndings says, for each point of the redeem and each grief, how it may end. What holds of every cell stands in check.
func redeemEndings() map[point]map[grief][]ending {
	once := []ending{grantedAtOnce}
	lost, revoked := []ending{consentLost}, []ending{revokedLate}
	return map[point]map[grief][]ending{
		beforeIntent: {kill9: once, panics: once, stopped: once, noDisk: once},
		afterIntent:  {kill9: once, panics: once, stopped: once, noDisk: once},
		afterSend:    {kill9: lost, panics: lost, stopped: revoked, noDisk: once},
		afterAnswer:  {kill9: lost, panics: lost, stopped: revoked, noDisk: once},
		afterSave:    {kill9: once, panics: once, stopped: once, noDisk: once},
		// No code of ours runs between the publish and its receipt that could panic.
		afterPublish: {kill9: once, stopped: once, noDisk: once},
		beforeAck:    {kill9: once, panics: once, stopped: once, noDisk: once},
	}
}

// TestARedeemEndsWellWhereverItsWorkerComesToGrief plays every grief at every point of the redeem: on the real server,
// with the real handler, two workers, and a Microsoft that takes a code once and revokes its tokens when it comes again.
func TestARedeemEndsWellWhereverItsWorkerComesToGrief(t *testing.T) { //nolint:tparallel // its cells are busy bubbles
	t.Parallel()
	for at, cells := range redeemEndings() { //nolint:paralleltest // as above
		for how, want := range cells {
			if how == noDisk {
				continue // the next test's
			}
			t.Run(fmt.Sprintf("%s, %s", how, at), func(t *testing.T) {
				bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
					s := newStage(t)
					defer s.end()
					s.arm(at, how)
					for _, problem := range s.redeem(mailboxOf(0), want...) {
						t.Error(problem)
					}
				})
			})
		}
	}
}

// TestARedeemEndsWellWhereverTheDiskIsFull plays the rest of the table, in the time of the clock on the wall.
func TestARedeemEndsWellWhereverTheDiskIsFull(t *testing.T) {
	t.Parallel()
	for at, cells := range redeemEndings() {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			defer s.end()
			s.arm(at, noDisk)
			for _, problem := range s.redeem(mailboxOf(0), cells[noDisk]...) {
				t.Error(problem)
			}
		})
	}
}

// TestAConsentWhoseAnswerDiesWithItsWorkerIsFlaggedEveryTime kills the worker between the answer and the save, twenty
// times (trust.md, G3).
func TestAConsentWhoseAnswerDiesWithItsWorkerIsFlaggedEveryTime(t *testing.T) { //nolint:paralleltest // as above
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := newStage(t)
		defer s.end()
		for i := range 20 {
			s.arm(afterAnswer, kill9)
			for _, problem := range s.redeem(mailboxOf(i), consentLost) {
				t.Errorf("kill %d: %s", i+1, problem)
			}
		}
	})
}

// TestLateTokensAreSavedWhenMicrosoftHasNotRevokedThem is the stopped worker's other end.
func TestLateTokensAreSavedWhenMicrosoftHasNotRevokedThem(t *testing.T) { //nolint:paralleltest // as above
	bustest.Alone(t, func(t *testing.T) { //nolint:thelper // the test itself
		for _, at := range []point{afterSend, afterAnswer} {
			bustest.OneBubble(t, func(t *testing.T) { //nolint:thelper // as above
				s := newStage(t)
				defer s.end()
				s.merciful = true
				s.arm(at, stopped)
				for _, problem := range s.redeem(mailboxOf(0), ending{state: mailbox.StateGranted, sends: 2}) {
					t.Errorf("%s: %s", at, problem)
				}
			})
		}
	})
}

// redeem sends one consent through, waits until nothing is stored for a worker, and compares.
func (s *stage) redeem(id mailbox.ID, want ...ending) []string {
	s.t.Helper()
	hits := s.struck()
	s.invite(s.t, id)
	s.consent(s.t, id)
	if s.how == stopped {
		time.Sleep(2 * griefTime) // until it has gone on
	}
	if left := s.quiet(); left != "" {
		return []string{"it does not end: " + left}
	}
	if s.struck() != hits+1 {
		return []string{"the point was never reached: this proves nothing"}
	}
	return s.check(id, want)
}

func (s *stage) struck() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits
}

// quiet waits until the lanes of token-worker are empty, and tells what is left if they do not get so.
func (s *stage) quiet() (left string) {
	for ended := time.Now().Add(20 * time.Minute); time.Now().Before(ended); time.Sleep(time.Second) {
		left = ""
		for _, stream := range []string{"CODE", "REFRESH", "TIMERS_TOKEN"} {
			if n, err := bus.Waiting(s.t.Context(), s.bus, stream); err != nil || n > 0 {
				left += fmt.Sprintf("%d in %s (%v) ", n, stream, err)
			}
		}
		if left == "" {
			return ""
		}
	}
	return left
}

// check compares the end of a mailbox with what it must be, and with what every end must be.
func (s *stage) check(id mailbox.ID, want []ending) (problems []string) {
	s.t.Helper()
	claim, grant := load(s.t, s.claims, id), load(s.t, s.grants, id)
	got := mailbox.View(mailbox.Facts{Invitation: mailbox.Invitation{ID: id}, Claim: claim, Grant: grant}, time.Now())
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	attempt := s.codes[id].Attempt
	s.books.mu.Lock()
	sends, breaches := s.sends[attempt], slices.Clone(s.breaches)
	s.books.mu.Unlock()
	problems = append(problems, breaches...)
	code := ""
	if got.Finding != nil {
		code = got.Finding.Code
	}
	if end := (ending{got.State, got.Reason, code, sends}); !slices.Contains(want, end) {
		wrong("ends as %+v, want %+v", end, want)
	}
	if sends > mailbox.MaxSends {
		wrong("the code was sent %d times", sends)
	}
	letters := 0
	for _, letter := range deadLetters(s.t, s.bus) {
		if letter.Mailbox == id {
			letters++
		}
	}
	follow, err := bus.Holds(s.t.Context(), s.bus, "REGISTER", "kindling.register.main.*."+id)
	switch {
	case err != nil:
		wrong("look for the request to register: %v", err)
	case got.State == mailbox.StateGranted && (grant.Tokens == nil || follow != 1):
		wrong("tokens are stored: %t, and Warmy is asked for %d times", grant.Tokens != nil, follow)
	case got.State == mailbox.StateNeedsConsent && (grant.Tokens != nil || follow != 0):
		wrong("a new consent is asked for although tokens are stored: %t, or Warmy is asked for %d times", grant.Tokens != nil, follow)
	case got.State == mailbox.StateDead && letters != 1:
		wrong("it died in silence: %d dead letters", letters)
	}
	return problems
}
