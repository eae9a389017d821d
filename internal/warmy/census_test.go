package warmy_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/warmy"
)

// account is a Warmy account whose listing a test writes.
type account struct {
	mu     sync.Mutex
	boxes  []warmy.Item
	bend   func(n int, p warmy.Page) (warmy.Page, error) // what becomes of page n
	lists  int                                           // pages asked for
	finds  int
	lost   func(address string) error // what becomes of a lookup
	held   chan struct{}              // a listing waits for it; nil: none does
	asked  chan struct{}              // hears of every page
	stored mailbox.Listed
	seen   []warmy.ListingOutcome
	now    time.Time
}

func accountOf(n int) *account {
	a := &account{now: clock()}
	a.grow(n)
	return a
}

func (a *account) grow(n int) {
	for range n {
		id := len(a.boxes) + 1
		a.boxes = append(a.boxes, warmy.Item{ID: fmt.Sprint(id), Email: fmt.Sprintf("m%d@contoso.example", id)})
	}
}

func (a *account) List(ctx context.Context, _, _ string, n int) (warmy.Page, error) {
	p, err := a.list(ctx, n)
	leg.Asked(ctx, err != nil && fault.Of(err).Outage)
	return p, err
}

func (a *account) list(ctx context.Context, n int) (warmy.Page, error) {
	if a.asked != nil {
		a.asked <- struct{}{}
	}
	if a.held != nil {
		select {
		case <-a.held:
		case <-ctx.Done():
			return warmy.Page{}, context.Cause(ctx)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lists++
	pages := (len(a.boxes) + 99) / 100
	p := warmy.Page{Current: n, Total: pages, Count: len(a.boxes), Last: n >= pages}
	if from := (n - 1) * 100; from < len(a.boxes) {
		p.Items = a.boxes[from:min(len(a.boxes), from+100)]
	}
	if a.bend != nil {
		return a.bend(n, p)
	}
	return p, nil
}

func (a *account) Find(ctx context.Context, _, address string) (string, bool, error) {
	id, found, err := a.find(address)
	leg.Asked(ctx, err != nil && fault.Of(err).Outage)
	return id, found, err
}

func (a *account) find(address string) (string, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finds++
	if a.lost != nil {
		if err := a.lost(address); err != nil {
			return "", false, err
		}
	}
	for _, box := range a.boxes {
		if strings.EqualFold(box.Email, address) {
			return box.ID, true, nil
		}
	}
	return "", false, nil
}

func (a *account) Load(context.Context, string) (mailbox.Listed, uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stored, 1, nil
}

func (a *account) Save(_ context.Context, _ string, l mailbox.Listed, _ uint64) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stored = l
	return 2, nil
}

func (a *account) census() *warmy.Census {
	return warmy.NewCensus(warmy.CensusConfig{
		Warmy: a, Listed: a, Now: func() time.Time { a.mu.Lock(); defer a.mu.Unlock(); return a.now },
		Seen: func(_ string, l warmy.ListingSeen) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.seen = append(a.seen, l.Outcome)
		},
	})
}

func (a *account) pass(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

func (a *account) outcomes() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprint(a.seen)
}

// answer is what one who asked was told.
type answer struct {
	handlers.Listing

	err  error
	seen *leg.Witness // of Warmy
}

// crowd asks for mailboxes 1 to n, all at the same time, before the first page is answered.
func (a *account) crowd(t *testing.T, c *warmy.Census, n int, since time.Time) []answer {
	t.Helper()
	a.held, a.asked = make(chan struct{}), make(chan struct{}, 100000)
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			ctx, seen := leg.Watch(t.Context())
			l, err := c.Look(ctx, "main", fmt.Sprintf("M%d@contoso.example", i+1), since)
			answers[i] = answer{l, err, seen}
		})
	}
	<-a.asked
	eventually(t, func() bool { return warmy.Waiting(c, "main") == n })
	close(a.held)
	all.Wait()
	return answers
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("not within 20 s")
		}
	}
}

func TestOneListingAnswersEverybody(t *testing.T) {
	t.Parallel()
	a := accountOf(250)
	c := a.census()
	for i, got := range a.crowd(t, c, 300, a.now) {
		if want := i < 250; got.err != nil || got.Found != want || want && got.ID != fmt.Sprint(i+1) || !got.Began.Equal(clock()) {
			t.Fatalf("mailbox %d: %+v", i+1, got)
		}
	}
	if a.finds > 2 || a.lists > 2*3 {
		t.Errorf("%d lookups and %d pages for 300 mailboxes in 3 pages", a.finds, a.lists)
	}
	calls := a.finds + a.lists
	if l, err := c.Look(t.Context(), "main", "m7@contoso.example", a.now); err != nil || l.ID != "7" || a.finds+a.lists != calls {
		t.Errorf("%+v, %v: a young listing answers without a call, and %d were made", l, err, a.finds+a.lists-calls)
	}
	a.pass(time.Minute)
	if _, err := c.Look(t.Context(), "main", "m7@contoso.example", a.now); err != nil || a.finds+a.lists == calls {
		t.Errorf("%v: answered from a listing that is too old", err)
	}
}

func TestAFewAreLookedUpWhereTheAccountIsLarge(t *testing.T) {
	t.Parallel()
	a := accountOf(1000)
	c := a.census()
	for i, got := range a.crowd(t, c, 4, a.now) {
		if got.err != nil || got.ID != fmt.Sprint(i+1) {
			t.Errorf("%+v", got)
		}
	}
	if a.finds != 4 || a.lists != 1 {
		t.Errorf("%d lookups and %d pages, want 4 and the one that counts", a.finds, a.lists)
	}
}

// suspects are accounts of 600 mailboxes, and what makes their listing suspicious.
func suspects() map[warmy.ListingOutcome]map[string]func(a *account) {
	bend := func(how func(n int, p warmy.Page) warmy.Page) func(a *account) {
		return func(a *account) {
			a.bend = func(n int, p warmy.Page) (warmy.Page, error) { return how(n, p), nil }
		}
	}
	return map[warmy.ListingOutcome]map[string]func(a *account){
		warmy.Unreadable: {
			"page 2 is page 1": bend(func(n int, p warmy.Page) warmy.Page {
				if n == 2 {
					p.Items = []warmy.Item{{ID: "1", Email: "m1@contoso.example"}}
				}
				return p
			}),
			"it never ends":         bend(func(_ int, p warmy.Page) warmy.Page { p.Total, p.Last = 1001, false; return p }),
			"empty in the middle":   bend(func(n int, p warmy.Page) warmy.Page { p.Items = p.Items[:len(p.Items)*(n%2)]; return p }),
			"shorter than it says":  bend(func(_ int, p warmy.Page) warmy.Page { p.Items = p.Items[1:]; return p }),
			"an item has no e-mail": func(a *account) { a.bend = func(int, warmy.Page) (warmy.Page, error) { return warmy.Page{}, odd() } },
		},
		warmy.Fell:    {"a quarter is gone": func(a *account) { a.boxes = a.boxes[:450] }},
		warmy.Emptied: {"all are gone": func(a *account) { a.boxes = nil }},
	}
}

func odd() error {
	return &fault.Fault{Class: fault.Transient, Code: "warmy_listing_untrusted", Cause: "c", Remedy: "r", Forecast: fault.ByTime}
}

func TestASuspiciousListingAnswersNobody(t *testing.T) {
	t.Parallel()
	for outcome, all := range suspects() {
		for name, spoil := range all {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				a := accountOf(600)
				c := a.census()
				a.crowd(t, c, 20, a.now)
				trusted := a.stored.Count
				a.pass(10 * time.Minute)
				a.held, a.asked = nil, nil
				spoil(a)
				for i, got := range a.crowd(t, c, 700, a.now) {
					if f := fault.Of(got.err); got.err == nil || f.Class != fault.RetryAfter || f.Code != "warmy_listing_suspicious" || f.After <= 0 {
						t.Fatalf("mailbox %d: %+v", i+1, got)
					}
				}
				if got := a.outcomes(); !strings.HasSuffix(got, string(outcome)+"]") || trusted != 600 || a.stored.Count != 600 {
					t.Errorf("%s, and %d mailboxes are remembered", got, a.stored.Count)
				}
				calls := a.lists + a.finds
				if _, err := c.Look(t.Context(), "main", "m1@contoso.example", a.now); err == nil || a.lists+a.finds != calls {
					t.Errorf("%v: a suspicious account is asked again at once", err)
				}
			})
		}
	}
}

// look asks for one mailbox.
func (a *account) look(t *testing.T, c *warmy.Census, address string) answer {
	t.Helper()
	ctx, seen := leg.Watch(t.Context())
	l, err := c.Look(ctx, "main", address, a.now)
	return answer{l, err, seen}
}

// TestAnAbsenceIsNotBelievedOnAnOldCount: a lookup cannot tell an address that is absent from a listing that is empty.
func TestAnAbsenceIsNotBelievedOnAnOldCount(t *testing.T) {
	t.Parallel()
	a := accountOf(1000)
	c := a.census()
	if got := a.look(t, c, "absent@contoso.example"); got.err != nil || got.Found || a.lists != 1 || a.finds != 1 {
		t.Fatalf("%+v after %d counts and %d lookups", got, a.lists, a.finds)
	}
	a.pass(time.Minute)
	a.boxes = nil
	got := a.look(t, c, "m7@contoso.example")
	if f := fault.Of(got.err); f.Code != "warmy_listing_suspicious" || f.Class != fault.RetryAfter {
		t.Errorf("%+v: the listing went empty, and nobody saw it", got)
	}
}

func TestOneCountServesAllWhoAreAbsent(t *testing.T) {
	t.Parallel()
	a := accountOf(1000)
	c := a.census()
	a.look(t, c, "m1@contoso.example")
	a.pass(time.Minute)
	a.boxes = a.boxes[:990] // the last ten are gone
	before := a.lists
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			l, err := c.Look(t.Context(), "main", fmt.Sprintf("m%d@contoso.example", 988+i), a.now)
			if err != nil || l.Found != (988+i <= 990) {
				t.Errorf("mailbox %d: %+v, %v", 988+i, l, err)
			}
		})
	}
	all.Wait()
	if a.lists != before+1 {
		t.Errorf("%d counts", a.lists-before)
	}
	a.pass(time.Minute)
	if got := a.look(t, c, "m1@contoso.example"); got.err != nil || !got.Found || a.lists != before+1 {
		t.Errorf("%+v after %d counts: what is found needs none", got, a.lists-before)
	}
}

// TestAbsencesThatComeOneAfterTheOtherShareCounts: one a second would double the calls.
func TestAbsencesThatComeOneAfterTheOtherShareCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := accountOf(1000)
		c := warmy.NewCensus(warmy.CensusConfig{Warmy: a, Listed: a, Now: time.Now})
		var all sync.WaitGroup
		began := time.Now()
		for range 120 {
			all.Go(func() {
				asked := time.Now()
				l, err := c.Look(t.Context(), "main", "absent@contoso.example", asked)
				if took := time.Since(asked); err != nil || l.Found || took > 15*time.Second {
					t.Errorf("%+v, %v after %s", l, err, took)
				}
			})
			time.Sleep(time.Second)
		}
		all.Wait()
		if a.finds != 120 || a.lists > 10 {
			t.Errorf("%d lookups and %d counts in %s", a.finds, a.lists, time.Since(began))
		}
	})
}

func TestALookUpThatIsOddAnswersNobody(t *testing.T) {
	t.Parallel()
	a := accountOf(1000)
	a.lost = func(string) error { return odd() }
	c := a.census()
	for range 2 {
		got := a.look(t, c, "m1@contoso.example")
		if f := fault.Of(got.err); f.Class != fault.RetryAfter || f.Code != "warmy_listing_suspicious" || a.finds != 1 {
			t.Errorf("%+v after %d lookups: it counts against the mailbox, or is asked again at once", got, a.finds)
		}
	}
	if got := a.outcomes(); got != "[counted unreadable]" {
		t.Errorf("no alarm: %s", got)
	}
}

// TestARenamedMailboxConcernsNobodyElse: one mailbox that an owner renamed at Warmy must not stop an account.
func TestARenamedMailboxConcernsNobodyElse(t *testing.T) {
	t.Parallel()
	a := accountOf(150)
	c := a.census()
	a.crowd(t, c, 2, a.now)
	a.boxes = append([]warmy.Item(nil), a.boxes...)
	a.boxes[5].Email = "somebody@contoso.example"
	suspect := func(got answer) bool {
		f := fault.Of(got.err)
		return got.err != nil && f.Class == fault.RetryAfter && f.Code == "warmy_listing_suspicious" && f.After > 0
	}
	for range 3 { // it does not stop being told, and never stops the others
		a.pass(10 * time.Minute)
		for i, got := range a.crowd(t, c, 150, a.now) {
			if i == 5 && !suspect(got) || i != 5 && (got.err != nil || got.ID != fmt.Sprint(i+1)) {
				t.Fatalf("mailbox %d: %+v", i+1, got)
			}
		}
		if got := a.outcomes(); !strings.HasSuffix(got, "renamed]") {
			t.Fatalf("no alarm: %s", got)
		}
	}
	a.held, a.asked = nil, nil
	a.pass(time.Minute)
	for _, address := range []string{"somebody@contoso.example", "m6@contoso.example"} {
		if got := a.look(t, c, address); !suspect(got) || a.finds > 0 {
			t.Errorf("%s is looked up by itself: %+v", address, got)
		}
	}
	a.pass(24 * time.Hour)
	for i, got := range a.crowd(t, c, 150, a.now) {
		if got.err != nil || got.Found != (i != 5) {
			t.Fatalf("mailbox %d a day later: %+v", i+1, got)
		}
	}
	if got := a.outcomes(); !strings.HasSuffix(got, "complete]") {
		t.Errorf("a day later: %s", got)
	}
}

func TestARenamedMailboxThatIsRenamedBackIsInDoubtNoMore(t *testing.T) {
	t.Parallel()
	a := accountOf(150)
	c := a.census()
	for _, then := range []struct{ email, outcome string }{
		{"m6@contoso.example", "complete"},
		{"x@contoso.example", "renamed"},
		{"", "renamed"}, // not listed
		{"x@contoso.example", "renamed"},
		{"m6@contoso.example", "complete"},
		{"m6@contoso.example", "complete"},
	} {
		a.pass(10 * time.Minute)
		whole := accountOf(150).boxes
		if whole[5].Email = then.email; then.email == "" {
			whole = append(whole[:5], whole[6:]...)
		}
		a.boxes = whole
		a.crowd(t, c, 150, a.now)
		if got := a.outcomes(); !strings.HasSuffix(got, then.outcome+"]") {
			t.Errorf("%q: %s", then.email, got)
		}
	}
}

func TestOnlyWhatAddsUpIsRemembered(t *testing.T) {
	t.Parallel()
	a := accountOf(80)
	a.bend = func(_ int, p warmy.Page) (warmy.Page, error) { p.Count = 100; return p, nil }
	for _, got := range a.crowd(t, a.census(), 80, a.now) {
		wants(t, got.err, fault.RetryAfter, "warmy_listing_suspicious")
	}
	if a.stored.Count != 0 {
		t.Errorf("%d mailboxes are remembered", a.stored.Count)
	}
	a.bend, a.held, a.asked = nil, nil, nil
	for _, got := range a.crowd(t, a.census(), 80, a.now) {
		if got.err != nil {
			t.Fatal(got.err)
		}
	}
	if a.stored.Count != 80 {
		t.Errorf("%d mailboxes are remembered", a.stored.Count)
	}
}

func TestALookUpSaysNothingOfASuspiciousAccount(t *testing.T) {
	t.Parallel()
	a := accountOf(100)
	a.stored = mailbox.Listed{Count: 1000, At: clock()} // what an earlier process has seen
	_, err := a.census().Look(t.Context(), "main", "absent@contoso.example", a.now)
	if fault.Of(err).Code != "warmy_listing_suspicious" || a.finds != 0 {
		t.Errorf("%v after %d lookups", err, a.finds)
	}
}

func TestAnAccountMayGrowWhileItIsListed(t *testing.T) {
	t.Parallel()
	a := accountOf(250)
	a.bend = func(n int, p warmy.Page) (warmy.Page, error) {
		if n == 1 {
			a.grow(1) // a mailbox that was posted just now comes last
		}
		return p, nil
	}
	for i, got := range a.crowd(t, a.census(), 300, a.now) {
		if got.err != nil || i < 250 && got.ID != fmt.Sprint(i+1) {
			t.Fatalf("mailbox %d: %+v", i+1, got)
		}
	}
	if got := a.outcomes(); !strings.Contains(got, "complete") || a.finds > 5 {
		t.Errorf("%s, %d lookups", got, a.finds)
	}
}

func TestWhereMailboxesMoveTheyAreLookedUp(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(a *account){
		"one comes first": func(a *account) {
			a.boxes = append([]warmy.Item{{ID: "new", Email: "new@contoso.example"}}, a.boxes...)
		},
		"one is gone": func(a *account) { a.boxes = a.boxes[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := accountOf(250)
			once := func() { move(a) }
			a.bend = func(n int, p warmy.Page) (warmy.Page, error) {
				if n == 2 { // the account is read to its end
					once()
					once = func() {}
				}
				return p, nil
			}
			for i, got := range a.crowd(t, a.census(), 30, a.now)[1:] {
				if got.err != nil || got.ID != fmt.Sprint(i+2) {
					t.Fatalf("mailbox %d: %+v", i+2, got)
				}
			}
			if got := a.outcomes(); !strings.Contains(got, "moved") || strings.Contains(got, "complete") || a.finds < 28 {
				t.Errorf("%s, %d lookups", got, a.finds)
			}
		})
	}
}

func TestOnlyTheAddressThatIsListedTwiceIsFlagged(t *testing.T) {
	t.Parallel()
	a := accountOf(50)
	a.boxes = append(a.boxes, warmy.Item{ID: "second", Email: " M3@CONTOSO.example "})
	for i, got := range a.crowd(t, a.census(), 50, a.now) {
		switch {
		case i == 2:
			wants(t, got.err, fault.Permanent, "warmy_listed_twice")
		case got.err != nil || !got.Found:
			t.Errorf("mailbox %d: %+v", i+1, got)
		}
	}
}

func TestAPageThatFailsOnceIsAskedForAgain(t *testing.T) {
	t.Parallel()
	a := accountOf(250)
	failed := 0
	a.bend = func(n int, p warmy.Page) (warmy.Page, error) {
		if n == 2 && failed < 2 {
			failed++
			return warmy.Page{}, failing(fault.Transient, "warmy_5xx", true)
		}
		return p, nil
	}
	for i, got := range a.crowd(t, a.census(), 250, a.now) {
		if got.err != nil || !got.Found {
			t.Fatalf("mailbox %d: %+v", i+1, got)
		}
	}
}

func TestAListingThatFailsFailsForEverybody(t *testing.T) {
	t.Parallel()
	a := accountOf(250)
	a.bend = func(int, warmy.Page) (warmy.Page, error) {
		return warmy.Page{}, failing(fault.LegDown, "warmy_401", false)
	}
	for _, got := range a.crowd(t, a.census(), 30, a.now) {
		wants(t, got.err, fault.LegDown, "warmy_401")
	}
	if a.lists > 2 {
		t.Errorf("asked %d times", a.lists)
	}
}

func TestNobodyWhoWaitsIsNobodyWhoAsks(t *testing.T) {
	t.Parallel()
	a := accountOf(250)
	a.held, a.asked = make(chan struct{}), make(chan struct{}, 10)
	c := a.census()
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Look(ctx, "main", "m1@contoso.example", a.now)
		done <- err
	}()
	<-a.asked
	leave()
	if err := <-done; err == nil {
		t.Error("answered")
	}
	eventually(t, func() bool { return !warmy.Serving(c, "main") })
	close(a.held)
	if l, err := c.Look(t.Context(), "main", "m1@contoso.example", a.now); err != nil || l.ID != "1" {
		t.Errorf("the next one is told %+v, %v", l, err)
	}
}

func TestAListingThatBeginsTooEarlyIsNotAsked(t *testing.T) {
	t.Parallel()
	a := accountOf(1)
	_, err := a.census().Look(t.Context(), "main", "m1@contoso.example", a.now.Add(time.Second))
	if f := wants(t, err, fault.RetryAfter, "warmy_listing_early"); f.After != time.Second || a.lists+a.finds > 0 {
		t.Errorf("%+v", f)
	}
}
