package mailbox_test

import (
	"testing"
	"time"

	"kindling/internal/mailbox"
)

func TestAListingThatShowsTooFewIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before, count int
		want          mailbox.Shrinkage
	}{
		{0, 0, mailbox.NotShrunk},
		{0, 9, mailbox.NotShrunk},
		{1, 0, mailbox.Emptied},
		{9, 0, mailbox.Emptied},
		{9, 1, mailbox.NotShrunk},
		{10, 8, mailbox.NotShrunk},
		{10, 7, mailbox.Fell},
		{600, 480, mailbox.NotShrunk},
		{600, 479, mailbox.Fell},
		{600, 0, mailbox.Emptied},
		{600, 601, mailbox.NotShrunk},
	} {
		l := mailbox.Listed{Count: c.before, At: at}
		next, got := l.Sighted(c.count, at.Add(time.Minute))
		if got != c.want || next.Count != c.before {
			t.Errorf("%d after %d: %q, and %d are remembered", c.count, c.before, got, next.Count)
		}
	}
}

func TestAShrinkageIsBelievedWhenItWasSeenForADay(t *testing.T) {
	t.Parallel()
	l, now := mailbox.Listed{Count: 1000, At: at}, at
	see := func(count int, later time.Duration) (why mailbox.Shrinkage) {
		now = now.Add(later)
		l, why = l.Sighted(count, now)
		return why
	}
	if see(100, time.Hour) != mailbox.Fell || see(100, 25*time.Hour) != mailbox.Fell {
		t.Error("two listings a day apart are believed, and none between them was seen")
	}
	for range 11 {
		if see(100, 2*time.Hour) != mailbox.Fell {
			t.Fatal("believed too early")
		}
	}
	if see(900, time.Hour) != mailbox.NotShrunk || !l.Shrunk.IsZero() {
		t.Error("a listing that shows enough ends the shrinkage")
	}
	if see(100, time.Hour) != mailbox.Fell {
		t.Fatal("believed at once")
	}
	for range 11 {
		see(100, 2*time.Hour)
	}
	if why := see(100, 2*time.Hour); why != mailbox.NotShrunk {
		t.Errorf("%q after a day", why)
	}
	if l = l.Trusted(100, now); l.Count != 100 || !l.Shrunk.IsZero() {
		t.Errorf("%+v", l)
	}
}

func TestAnAccountDoesNotVanishInSmallSteps(t *testing.T) {
	t.Parallel()
	l, count, now := mailbox.Listed{}.Trusted(1000, at), 1000, at
	steps := 0
	for ; steps < 10; steps++ {
		now, count = now.Add(5*time.Minute), count*81/100
		var why mailbox.Shrinkage
		if l, why = l.Sighted(count, now); why != mailbox.NotShrunk {
			break
		}
		l = l.Trusted(count, now)
	}
	if steps != 1 || l.Count != 1000 {
		t.Errorf("%d falls of 19 %% are believed, %d mailboxes are remembered", steps, l.Count)
	}
	if l = l.Trusted(900, at.Add(24*time.Hour)); l.Count != 900 {
		t.Errorf("%d are remembered a day later", l.Count)
	}
	if l = l.Trusted(950, at.Add(25*time.Hour)); l.Count != 950 {
		t.Errorf("%d are remembered of an account that grew", l.Count)
	}
}
