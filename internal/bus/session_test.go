package bus

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/seal"
)

func grantsBox(t *testing.T) *seal.Box {
	t.Helper()
	dir := t.TempDir()
	if err := seal.Generate(dir); err != nil {
		t.Fatal(err)
	}
	box, err := seal.OpenGrants(dir)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestASessionIsLentToOneAtATimeAndComesBackChanged(t *testing.T) {
	t.Parallel()
	b := insideBus(t)
	box := grantsBox(t)
	one, two := b.Sessions(box), b.Sessions(box)
	kept, revision, err := one.Borrow(t.Context(), "main", time.Minute)
	if err != nil || kept != nil {
		t.Fatalf("Borrow() = %q, %v", kept, err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := two.Borrow(brief, "main", time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lent twice: %v", err)
	}
	if _, _, err := two.Borrow(t.Context(), "other", time.Minute); err != nil {
		t.Errorf("another account's: %v", err)
	}
	if _, err := one.Keep(t.Context(), "main", revision, []byte("canary-token"), 0); err != nil {
		t.Fatal(err)
	}
	kept, _, err = two.Borrow(t.Context(), "main", time.Minute)
	if err != nil || string(kept) != "canary-token" {
		t.Errorf("Borrow() = %q, %v", kept, err)
	}
	if data, _, err := (kv{b, bucketControl}).get(t.Context(), "session.main"); err != nil || bytes.Contains(data, []byte("canary")) {
		t.Errorf("the bucket can be read: %s, %v", data, err)
	}
}

func TestASessionThatCannotBeMeantStopsNobody(t *testing.T) {
	t.Parallel()
	b := insideBus(t)
	box := grantsBox(t)
	s := b.Sessions(box)
	foreign, err := box.Seal([]byte("x"), sessionContext("other"))
	if err != nil {
		t.Fatal(err)
	}
	for account, stored := range map[string]string{
		"bytes": "\xff", "text": `"session"`, "list": "[]", "null": "null", "ahead": `{"until":"2999-01-01T00:00:00Z"}`, "sealed": `{"sealed":"AAAA"}`, "empty": "{}",
	} {
		if _, err := s.kv.put(t.Context(), "session."+account, []byte(stored), 0); err != nil {
			t.Fatal(err)
		}
		if kept, _, err := s.Borrow(t.Context(), account, time.Second); err != nil || kept != nil {
			t.Errorf("%s: Borrow() = %q, %v", account, kept, err)
		}
	}
	if _, err := s.put(t.Context(), "copied", 0, foreign, 0); err != nil {
		t.Fatal(err)
	}
	if kept, _, err := s.Borrow(t.Context(), "copied", time.Second); err != nil || kept != nil {
		t.Errorf("another account's session opens: %q, %v", kept, err)
	}
}

func TestPlansAreLookedUpByOneProcessAndWhenTheyAreOld(t *testing.T) {
	t.Parallel()
	p := insideBus(t).TariffPlans()
	now := time.Now()
	p.now = func() time.Time { return now }
	calls := 0
	answer := []campaign.Plan{{ID: 41, Name: "Business"}, {ID: 1, Name: string(bytes.Repeat([]byte("x"), 81))}}
	var failure error
	refresh := func() error {
		return p.Refresh(t.Context(), "main", 10*time.Minute, func(ctx context.Context, _ string) ([]campaign.Plan, error) {
			calls++
			_ = p.Refresh(ctx, "main", 10*time.Minute, func(context.Context, string) ([]campaign.Plan, error) {
				t.Error("two at once")
				return nil, nil
			})
			return answer, failure
		})
	}
	if known, err := p.Of(t.Context(), "main"); err != nil || known.Known() {
		t.Errorf("Of() = %+v, %v", known, err)
	}
	failure = errors.New("down")
	if err := refresh(); !errors.Is(err, failure) {
		t.Errorf("Refresh() = %v", err)
	}
	failure = nil
	if err := refresh(); err != nil || calls != 1 {
		t.Errorf("%d calls right after a failure, %v", calls, err)
	}
	now = now.Add(2 * time.Minute)
	for range 2 {
		if err := refresh(); err != nil {
			t.Fatal(err)
		}
	}
	known, err := p.Of(t.Context(), "main")
	if err != nil || !known.Known() || len(known.List) != 2 || known.List[0] != answer[0] || known.List[1] != (campaign.Plan{ID: 1}) {
		t.Errorf("Of() = %+v, %v", known, err)
	}
	now = now.Add(11 * time.Minute)
	if err := refresh(); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	now = now.Add(-48 * time.Hour) // the process that looked last had a wrong clock
	if err := refresh(); err != nil || calls != 4 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
