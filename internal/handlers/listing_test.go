package handlers_test

import (
	"testing"

	"kindling/internal/events"
	"kindling/internal/fault"
)

// TestWhoPostsOrDecidesByTheListingBelievesNoSuspiciousOne has a listing that shows too little.
func TestWhoPostsOrDecidesByTheListingBelievesNoSuspiciousOne(t *testing.T) {
	t.Parallel()
	w, restored := granted(t)
	restored.Restored = true
	settled, e := doubtful(t, false)
	for name, c := range map[string]struct {
		w *world
		e events.Event
	}{
		"after a restored backup": {w, restored}, "an operator's id": {settled, decision(settled, e, events.Decision{WarmyID: "w1"})},
	} {
		c.w.warmy.doubt = classed(fault.RetryAfter, "warmy_listing_suspicious")
		before, posts := c.w.registrations.get(), c.w.warmy.posts
		_, err := c.w.handlerOf(c.e).Handle(t.Context(), c.e)
		if fault.Of(err).Code != "warmy_listing_suspicious" || c.w.registrations.get() != before || c.w.warmy.posts != posts {
			t.Errorf("%s: %v, %d POSTs, %+v", name, err, c.w.warmy.posts, c.w.registrations.get())
		}
		c.w.warmy.doubt = nil
		if !c.w.run(t.Context(), c.e) {
			t.Errorf("%s: it does not end", name)
		}
		c.w.check(t)
	}
}
