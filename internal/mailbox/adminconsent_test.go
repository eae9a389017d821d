package mailbox_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/mailbox"
)

// hour is a time on the day of these tests; 0 is none.
func hour(h int) time.Time {
	if h == 0 {
		return time.Time{}
	}
	return time.Date(2026, 3, 2, h, 0, 0, 0, time.UTC)
}

func TestWhatAnOperatorSeesOfAnAdmin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                                 string
		granted, refused, connected, blocked int
		want                                 mailbox.AdminState
		since                                int
	}{
		{"nothing is known", 0, 0, 0, 0, mailbox.AdminNotAsked, 0},
		{"reported", 1, 0, 0, 0, mailbox.AdminGranted, 1},
		{"declined", 0, 1, 0, 0, mailbox.AdminRefused, 1},
		{"declined, then agreed", 2, 1, 0, 0, mailbox.AdminGranted, 2},
		{"agreed, then somebody else declined", 1, 2, 0, 0, mailbox.AdminGranted, 1},
		{"an owner connected, nobody was asked", 0, 0, 1, 0, mailbox.AdminProven, 1},
		{"an owner connected after the report", 1, 0, 2, 0, mailbox.AdminProven, 2},
		{"an owner connected, then the admin declined", 0, 2, 1, 0, mailbox.AdminProven, 1},
		{"an owner was sent back, nobody was asked", 0, 0, 0, 1, mailbox.AdminNeeded, 1},
		{"sent back, then the admin agreed", 2, 0, 0, 1, mailbox.AdminGranted, 2},
		{"sent back, then the admin declined", 0, 2, 0, 1, mailbox.AdminRefused, 2},
		{"declined, then an owner was sent back", 0, 1, 0, 2, mailbox.AdminNeeded, 2},
		{"the report was wrong, or taken back", 1, 0, 0, 2, mailbox.AdminNeeded, 2},
		{"taken back after owners had connected", 1, 0, 2, 3, mailbox.AdminNeeded, 3},
		{"sent back, agreed, and an owner connected", 2, 0, 3, 1, mailbox.AdminProven, 3},
		{"sent back, and another owner connected later", 0, 0, 2, 1, mailbox.AdminProven, 2},
		{"agreed, taken back, and declined", 1, 3, 0, 2, mailbox.AdminRefused, 3},
		{"sent back in the moment of the report", 1, 0, 0, 1, mailbox.AdminGranted, 1},
	} {
		fact := mailbox.AdminConsent{GrantedAt: hour(c.granted), RefusedAt: hour(c.refused)}
		if c.refused != 0 {
			fact.Reason = mailbox.Declined
		}
		state, reason, since := fact.View(mailbox.Evidence{ConnectedAt: hour(c.connected), BlockedAt: hour(c.blocked)})
		if state != c.want || !since.Equal(hour(c.since)) || (reason == mailbox.Declined) != (c.want == mailbox.AdminRefused) {
			t.Errorf("%s: %s (%q) since %v, want %s", c.name, state, reason, since, c.want)
		}
		if settled := c.want == mailbox.AdminGranted || c.want == mailbox.AdminProven; state.Settled() != settled {
			t.Errorf("%s: settled %v", c.name, !settled)
		}
	}
}

func TestAnAnswerAboutAnAdminCountsOnce(t *testing.T) {
	t.Parallel()
	granted, verdict := mailbox.AdminConsent{App: "main", Tenant: "contoso.example"}.Grant("one", hour(1))
	if verdict != mailbox.Accepted {
		t.Fatalf("verdict %v", verdict)
	}
	refused, verdict := granted.Refuse("two", mailbox.Declined, hour(2))
	if verdict != mailbox.Accepted || !refused.GrantedAt.Equal(hour(1)) {
		t.Errorf("a later refusal: %v, %+v", verdict, refused)
	}
	for name, c := range map[string]struct {
		fact   mailbox.AdminConsent
		answer func(mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer)
		want   mailbox.Answer
	}{
		"the same consent again": {granted, func(c mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer) { return c.Grant("one", hour(3)) }, mailbox.Repeated},
		"a consent turned into a refusal": {granted, func(c mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer) {
			return c.Refuse("one", mailbox.Declined, hour(3))
		}, mailbox.Conflict},
		"the same refusal again": {refused, func(c mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer) {
			return c.Refuse("two", mailbox.Declined, hour(3))
		}, mailbox.Repeated},
		"a refusal for another reason": {refused, func(c mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer) {
			return c.Refuse("two", mailbox.NotAdmin, hour(3))
		}, mailbox.Conflict},
		"a refusal turned into a consent": {refused, func(c mailbox.AdminConsent) (mailbox.AdminConsent, mailbox.Answer) { return c.Grant("two", hour(3)) }, mailbox.Conflict},
	} {
		changed, verdict := c.answer(c.fact)
		if diff := cmp.Diff(c.fact, changed); verdict != c.want || diff != "" {
			t.Errorf("%s: verdict %v, want %v; the fact changed:\n%s", name, verdict, c.want, diff)
		}
	}
}

func TestAnAdminLinkSaysWhatItWasMadeFor(t *testing.T) {
	t.Parallel()
	link := mailbox.AdminLink{App: "main", Tenant: "contoso.example", Expires: hour(5)}
	data, err := link.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := mailbox.ParseAdminLink(data)
	if diff := cmp.Diff(link, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if link.Expired(hour(5).Add(59*time.Second)) || !link.Expired(hour(5).Add(61*time.Second)) {
		t.Error("the link does not end a minute after its time")
	}
	if _, err := mailbox.ParseAdminLink([]byte("{")); err == nil {
		t.Error("half a link is read")
	}
}
