package handlers_test

import (
	"testing"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

func TestACodeMustLiveAsLongAsTheSlowestOfTheLastRedeems(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	times := handlers.NewRedeemTimes()
	expect := func(what string, now time.Time, want time.Duration) {
		t.Helper()
		if got := times.Need("main", now); got != want {
			t.Errorf("%s: need %v, want %v", what, got, want)
		}
	}
	expect("nothing is known", at, time.Second)
	times.Took("main", at, 3*time.Second)
	expect("one slow redeem", at, 3*time.Second)
	for range 63 {
		times.Took("main", at, 150*ms)
	}
	expect("the slow one is among the last 64", at, 3*time.Second)
	times.Took("main", at, 160*ms)
	expect("64 quick ones", at, 160*ms)
	expect("they are long ago", at.Add(time.Hour), time.Second)
	if got := times.Need("other", at); got != time.Second {
		t.Errorf("another app's need is %v", got)
	}
	times.Took("main", at, time.Hour)
	expect("one of an hour", at, time.Minute)
}

func TestACodeThatWasDeadBeforeItsDeadlineRaisesTheNeed(t *testing.T) {
	t.Parallel()
	times := handlers.NewRedeemTimes()
	times.Dead("main", at, 9*time.Minute) // says nothing of the deadlines: it was wrong from the start
	if got := times.Need("main", at); got != time.Second {
		t.Errorf("a code that was dead long before its deadline: need %v", got)
	}
	left := time.Second
	for tries := 0; left < 20*time.Second; tries++ {
		if tries == 6 {
			t.Fatalf("six codes were sent in vain, and %v is still thought enough", left)
		}
		times.Dead("main", at, left)
		left = times.Need("main", at)
	}
}

func TestARedeemTeachesTheNextOnes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse error
		want   time.Duration
	}{
		"a slow success":              {want: 4 * time.Second},
		"a refusal of a dead code":    {refuse: &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS70008", Reason: mailbox.CodeExpired}, want: 20 * time.Second},
		"a time-out":                  {refuse: passing("microsoft_timeout"), want: time.Second},
		"a refusal of another reason": {refuse: &fault.Fault{Class: fault.NeedsConsent, Code: "AADSTS65004", Reason: mailbox.Declined}, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.now = at.Add(mailbox.CodeLife - 10*time.Second)
			w.microsoft.refuse = test.refuse
			h := w.redeem()
			h.Times = handlers.NewRedeemTimes()
			h.Microsoft = slow{&w.microsoft, w}
			_, err := h.Handle(t.Context(), codeOf(0))
			if test.refuse == nil && err != nil {
				t.Fatal(err)
			}
			if got := h.Times.Need("main", w.now); got != test.want {
				t.Errorf("need %v, want %v", got, test.want)
			}
		})
	}
}

func TestAHopelessCodeIsConcludedWithoutACall(t *testing.T) {
	t.Parallel()
	for left, sends := range map[time.Duration]int{3 * time.Second: 1, 50 * time.Millisecond: 0} {
		w := newWorld()
		w.now = at.Add(mailbox.CodeLife - left)
		h := w.redeem()
		h.Times = handlers.NewRedeemTimes()
		for range 64 {
			h.Times.Took("main", w.now, 150*time.Millisecond)
		}
		if _, err := h.Handle(t.Context(), codeOf(0)); err != nil {
			t.Fatal(err)
		}
		if got := w.microsoft.sends["code-att00"]; got != sends {
			t.Errorf("with %v left, the code was sent %d times, want %d", left, got, sends)
		}
		if s := w.status(); sends == 0 && (s.State != mailbox.StateNeedsConsent || s.Reason != mailbox.CodeExpired) {
			t.Errorf("with %v left: %+v", left, s)
		}
	}
}
