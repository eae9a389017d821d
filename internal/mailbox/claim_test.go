package mailbox_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/mailbox"
)

// at is the instant at which everything in these tests begins.
var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const attemptLife = 15 * time.Minute

func attempt(n int, started time.Time) mailbox.Attempt {
	return mailbox.Attempt{
		ID: fmt.Sprintf("att%02d", n), StateHash: fmt.Sprintf("state%02d", n), Generation: 1,
		StartedAt: started, ExpiresAt: started.Add(attemptLife),
	}
}

func claimOf(t *testing.T, attempts ...mailbox.Attempt) mailbox.Claim {
	t.Helper()
	var c mailbox.Claim
	for _, a := range attempts {
		next, err := c.Start(a, a.StartedAt)
		if err != nil {
			t.Fatal(err)
		}
		c = next
	}
	return c
}

func TestAnAnswerMeansWhatTheAttemptAllows(t *testing.T) {
	t.Parallel()
	open := claimOf(t, attempt(1, at), attempt(2, at))
	coded, _, _ := open.Code("state01", "code", at.Add(time.Minute))
	refused, _, _ := open.Refuse("state01", mailbox.Declined, at.Add(time.Minute))
	for name, test := range map[string]struct {
		claim  mailbox.Claim
		state  string
		code   string // or
		reason string
		after  time.Duration
		want   mailbox.Answer
	}{
		"a state that was never started":          {claim: open, state: "elsewhere", code: "code", want: mailbox.Unknown},
		"a claim of which nothing is known":       {state: "state01", code: "code", want: mailbox.Unknown},
		"the first code":                          {claim: open, state: "state01", code: "code", after: time.Minute, want: mailbox.Accepted},
		"a code at the last instant":              {claim: open, state: "state01", code: "code", after: attemptLife, want: mailbox.Accepted},
		"a code after the last instant":           {claim: open, state: "state01", code: "code", after: attemptLife + 1, want: mailbox.Expired},
		"the same code again":                     {claim: coded, state: "state01", code: "code", after: 2 * time.Minute, want: mailbox.Repeated},
		"the same code long after":                {claim: coded, state: "state01", code: "code", after: time.Hour, want: mailbox.Repeated},
		"another code for the same state":         {claim: coded, state: "state01", code: "other", after: 2 * time.Minute, want: mailbox.Conflict},
		"a refusal after a code":                  {claim: coded, state: "state01", reason: mailbox.Declined, after: 2 * time.Minute, want: mailbox.Conflict},
		"a code for the other attempt":            {claim: coded, state: "state02", code: "other", after: 2 * time.Minute, want: mailbox.Accepted},
		"the first refusal":                       {claim: open, state: "state01", reason: mailbox.Declined, want: mailbox.Accepted},
		"a refusal that is too late":              {claim: open, state: "state01", reason: mailbox.Declined, after: time.Hour, want: mailbox.Expired},
		"the same refusal again":                  {claim: refused, state: "state01", reason: mailbox.Declined, after: time.Hour, want: mailbox.Repeated},
		"a refusal for another reason":            {claim: refused, state: "state01", reason: mailbox.AdminRequired, after: 2 * time.Minute, want: mailbox.Conflict},
		"a code after a refusal":                  {claim: refused, state: "state01", code: "code", after: 2 * time.Minute, want: mailbox.Conflict},
		"a refusal of a state that was not begun": {claim: open, state: "elsewhere", reason: mailbox.Declined, want: mailbox.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := at.Add(test.after)
			next, answered, got := test.claim.Code(test.state, test.code, now)
			if test.reason != "" {
				next, answered, got = test.claim.Refuse(test.state, test.reason, now)
			}
			if got != test.want {
				t.Fatalf("answer %v, want %v", got, test.want)
			}
			if got != mailbox.Accepted {
				if diff := cmp.Diff(test.claim, next); diff != "" {
					t.Errorf("the claim changed:\n%s", diff)
				}
				return
			}
			latest, ok := next.Latest()
			if !ok || latest.CodeHash != test.code || latest.Refusal != test.reason || !latest.AnsweredAt.Equal(now) || latest != answered {
				t.Errorf("latest answer %+v", latest)
			}
		})
	}
}

func TestAnAnswerLeavesTheOldClaimAlone(t *testing.T) {
	t.Parallel()
	open := claimOf(t, attempt(1, at))
	open.Code("state01", "code", at)
	open.Refuse("state01", mailbox.Declined, at)
	if _, answered := open.Latest(); answered {
		t.Errorf("the value that was answered changed itself: %+v", open)
	}
	coded, _, _ := open.Code("state01", "code", at)
	coded.Release("state01")
	if _, answered := coded.Latest(); !answered {
		t.Errorf("the value that was released changed itself: %+v", coded)
	}
}

func TestAReleasedAnswerMayBeGivenAgain(t *testing.T) {
	t.Parallel()
	open := claimOf(t, attempt(1, at), attempt(2, at))
	other, _, _ := open.Code("state02", "other", at)
	coded, _, _ := other.Code("state01", "code", at.Add(time.Minute))
	released := coded.Release("state01")
	if diff := cmp.Diff(other, released); diff != "" {
		t.Errorf("release differs from never answered:\n%s", diff)
	}
	if _, _, got := released.Code("state01", "code", at.Add(2*time.Minute)); got != mailbox.Accepted {
		t.Errorf("the same code again: %v", got)
	}
	if diff := cmp.Diff(coded, coded.Release("elsewhere")); diff != "" {
		t.Errorf("release of a foreign state changed the claim:\n%s", diff)
	}
}

func TestAtMostTenAttemptsAreUnderWay(t *testing.T) {
	t.Parallel()
	var c mailbox.Claim
	var err error
	for n := range mailbox.MaxLiveAttempts {
		if c, err = c.Start(attempt(n, at), at); err != nil {
			t.Fatalf("attempt %d: %v", n, err)
		}
	}
	full := c
	if c, err = c.Start(attempt(99, at), at.Add(attemptLife-1)); !errors.Is(err, mailbox.ErrTooManyAttempts) || !cmp.Equal(c, full) {
		t.Fatalf("one more: %v", err)
	}
	answered, _, _ := full.Refuse("state03", mailbox.Declined, at)
	if _, err = answered.Start(attempt(99, at), at); err != nil {
		t.Errorf("after an answer: %v", err)
	}
	later, err := full.Start(attempt(99, at.Add(attemptLife)), at.Add(attemptLife))
	if err != nil || len(later.Attempts) != 1 {
		t.Errorf("after all ran out: %d attempts, %v", len(later.Attempts), err)
	}
}

func TestWhatWasAnsweredLongAgoIsForgottenFirst(t *testing.T) {
	t.Parallel()
	c := claimOf(t, attempt(0, at), attempt(1, at)) // the first stays under way, the second is answered last of all
	for n := 2; n <= 14; n++ {
		c = start(t, c, attempt(n, at), at)
		c, _, _ = c.Refuse(fmt.Sprintf("state%02d", n), mailbox.Declined, at.Add(time.Duration(n)*time.Second))
	}
	c, _, _ = c.Code("state01", "code", at.Add(time.Minute))
	c = start(t, c, attempt(99, at), at.Add(time.Minute))
	if len(c.Attempts) != 12 {
		t.Errorf("%d attempts are kept, want ten answered and two under way", len(c.Attempts))
	}
	if _, _, got := c.Code("state00", "code", at.Add(2*time.Minute)); got != mailbox.Accepted {
		t.Errorf("an attempt under way was forgotten: %v", got)
	}
	if latest, _ := c.Latest(); latest.ID != "att01" {
		t.Errorf("the latest answer was forgotten: %+v", latest)
	}
	if _, _, got := c.Refuse("state02", mailbox.Declined, at.Add(2*time.Minute)); got != mailbox.Unknown {
		t.Errorf("the oldest answer is still known: %v", got)
	}
}

func start(t *testing.T, c mailbox.Claim, a mailbox.Attempt, now time.Time) mailbox.Claim {
	t.Helper()
	next, err := c.Start(a, now)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestTheLatestAnswerIsTheLastInTimeNotInPlace(t *testing.T) {
	t.Parallel()
	if latest, answered := (mailbox.Claim{}).Latest(); answered {
		t.Errorf("an empty claim has the answer %+v", latest)
	}
	c := claimOf(t, attempt(1, at), attempt(2, at))
	c, _, _ = c.Code("state02", "two", at.Add(time.Minute))
	c, _, _ = c.Refuse("state01", mailbox.Declined, at.Add(2*time.Minute))
	if latest, _ := c.Latest(); latest.ID != "att01" || latest.Refusal != mailbox.Declined {
		t.Errorf("latest %+v", latest)
	}
}
