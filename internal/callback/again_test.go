package callback_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/mailbox"
)

func TestTheSameAnswerMayComeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	for range 3 {
		answer := r.come(a, withCode(code))
		if answer.StatusCode != http.StatusSeeOther {
			t.Fatalf("callback answers %d", answer.StatusCode)
		}
		// The cookie lives on for a minute, for browsers that fetched ahead.
		if c := answer.Cookies(); len(c) != 1 || c[0].Name != a.cookie.Name || c[0].MaxAge != 60 || c[0].Value != a.cookie.Value {
			t.Errorf("cookies: %v", c)
		}
		r.pass(20 * time.Second)
	}
	published := r.publisher.list()
	for _, e := range published {
		if e.ID != published[0].ID || !e.Deadline.Equal(published[0].Deadline) {
			t.Error("a repetition is another event")
		}
	}
	r.pass(11 * time.Minute)
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther || len(r.publisher.list()) != len(published) {
		t.Errorf("a dead code was published again, or refused with %d", answer.StatusCode)
	}
}

func TestTwoTabsBothWork(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a, b := r.press(), r.press()
	if answer := r.come(b, withCode("second")); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("second tab: %d", answer.StatusCode)
	}
	if answer := r.come(a, withCode("first")); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("first tab: %d", answer.StatusCode)
	}
	if published := r.publisher.list(); len(published) != 2 || published[0].ID == published[1].ID {
		t.Errorf("%d events", len(published))
	}
}

func TestAnAttemptIsStartedAndClaimedDespiteConflicts(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	r.claims.conflicts = 4
	a := r.press()
	r.claims.conflicts = 4
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther || len(r.publisher.list()) != 1 {
		t.Errorf("callback answers %d", answer.StatusCode)
	}
	r.claims.conflicts = 1000
	if answer := r.come(r.pressLater(), withCode(code)); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("callback answers %d", answer.StatusCode)
	}
}

// pressLater presses the button while saves succeed, whatever is set for afterwards.
func (r *rig) pressLater() attempt {
	r.t.Helper()
	conflicts := r.claims.conflicts
	r.claims.conflicts = 0
	a := r.press()
	r.claims.conflicts = conflicts
	return a
}

func TestAnUnstoredAnswerIsNotThankedForAndMayComeAgain(t *testing.T) {
	t.Parallel()
	for name, breakdown := range map[string]func(r *rig, down bool){
		"publisher":   func(r *rig, down bool) { r.publisher.down = down },
		"claims":      func(r *rig, down bool) { r.claims.down = down },
		"invitations": func(r *rig, down bool) { r.invitations.down = down },
		"grants":      func(r *rig, down bool) { r.grants.down = down },
		"everything after the claim": func(r *rig, down bool) {
			r.publisher.down, r.claims.down, r.publisher.after = down, false, func() { r.claims.down = down }
		},
	} {
		r := newRig(t, "https://connect.example")
		a := r.press()
		breakdown(r, true)
		answer := r.come(a, withCode(code))
		text := bodyOf(t, answer)
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" || len(answer.Cookies()) != 0 ||
			!strings.Contains(text, `href="/c/`+link+`">Try again`) || strings.Contains(text, "canary") {
			t.Errorf("%s: callback answers %d, %v\n%s", name, answer.StatusCode, answer.Header, text)
		}
		if len(r.publisher.list()) != 0 {
			t.Errorf("%s: published", name)
		}
		if _, answered := r.claims.get(mailboxID).Latest(); answered != (name == "everything after the claim") {
			t.Errorf("%s: answered = %v", name, answered)
		}
		breakdown(r, false)
		if again := r.come(a, withCode(code)); again.StatusCode != http.StatusSeeOther || len(r.publisher.list()) != 1 {
			t.Errorf("%s: afterwards the callback answers %d, %d events", name, again.StatusCode, len(r.publisher.list()))
		}
	}
}

func TestAFailedRepetitionKeepsTheClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	r.come(a, withCode(code))
	before := r.claims.get(mailboxID)
	r.publisher.down = true
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("callback answers %d", answer.StatusCode)
	}
	if diff := cmp.Diff(before, r.claims.get(mailboxID)); diff != "" {
		t.Errorf("claim: %s", diff)
	}
}

func TestAnswersThatComeAtOnceAreEachTakenOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	attempts := make([]attempt, mailbox.MaxLiveAttempts)
	for i := range attempts {
		attempts[i] = r.press()
	}
	var group sync.WaitGroup
	for i, a := range attempts {
		for range 4 {
			group.Go(func() {
				if answer := r.come(a, withCode(fmt.Sprintf("code-%d", i))); answer.StatusCode != http.StatusSeeOther {
					t.Errorf("attempt %d: %d", i, answer.StatusCode)
				}
			})
		}
	}
	group.Wait()
	ids := map[string]bool{}
	for _, e := range r.publisher.list() {
		ids[e.ID] = true
	}
	if len(ids) != len(attempts) {
		t.Errorf("%d different events for %d attempts", len(ids), len(attempts))
	}
}
