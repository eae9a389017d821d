package roster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// sentBack is the claim of an owner whom Microsoft sent to the admin.
func sentBack(at time.Time) mailbox.Claim {
	return mailbox.Claim{Attempts: []mailbox.Attempt{{ID: "a1", Refusal: mailbox.AdminRequired, AnsweredAt: at}}}
}

func savedAt(at time.Time) mailbox.Grant {
	return mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "a2", Since: at, Tokens: &mailbox.Tokens{Attempt: "a2", SavedAt: at}}
}

// tenantRoster knows a campaign with mailboxes of several tenants, and another campaign that shares one of them.
func tenantRoster() *roster.Roster {
	r := roster.New(start, map[string]string{"main": "organizations", "single": "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"})
	for i, m := range []struct{ campaign, app, tenant, address string }{
		{"one", "main", "", "a@contoso.example"},
		{"one", "main", "", "b@Contoso.example"},
		{"one", "main", "", "c@fabrikam.example"},
		{"one", "main", "fabrikam.example", "d@other.example"},
		{"one", "single", "", "e@contoso.example"},
		{"one", "main", "", "f@outlook.com"},
		{"one", "main", "", "g@gone.example"},
		{"two", "main", "", "h@fabrikam.example"},
		{"two", "main", "", "i@tailspin.example"},
	} {
		r.Invitation(mailbox.Invitation{
			ID: fmt.Sprintf("box%021d", i), Campaign: m.campaign, App: m.app, Account: "main", Tenant: m.tenant, Address: m.address, LinkGeneration: 1,
			InvitedAt: start(), LinkExpiresAt: start().Add(time.Hour),
		})
	}
	r.Invitation(mailbox.Invitation{ID: fmt.Sprintf("box%021d", 6), Campaign: "one", App: "main", Address: "g@gone.example", LinkGeneration: 1, InvitedAt: start(), ErasedAt: start()})
	return r
}

func TestACampaignsTenantsAreCountedAndWhatWantsAnOperatorComesFirst(t *testing.T) {
	t.Parallel()
	r := tenantRoster()
	r.Claim("box000000000000000000000", sentBack(start()))
	r.AdminConsent(mailbox.AdminConsent{App: "single", Tenant: "8eaef023-2b34-4da1-9baa-8bc8c9d6a490", RefusedAt: start(), Reason: mailbox.NotAdmin})
	r.Grant("box000000000000000000007", savedAt(start())) // of the other campaign
	found, personal := r.Tenants("one")
	want := []roster.Tenant{
		{App: "main", Tenant: "contoso.example", Mailboxes: 2, Blocked: 1, State: mailbox.AdminNeeded, Since: start()},
		{App: "single", Tenant: "8eaef023-2b34-4da1-9baa-8bc8c9d6a490", Mailboxes: 1, State: mailbox.AdminRefused, Reason: mailbox.NotAdmin, Since: start()},
		{App: "main", Tenant: "fabrikam.example", Mailboxes: 2, State: mailbox.AdminProven, Since: start()},
	}
	if diff := cmp.Diff(want, found); diff != "" || personal != 1 {
		t.Errorf("%d need no admin; (-want +got)\n%s", personal, diff)
	}
	all, personal := r.Tenants("")
	if len(all) != 4 || all[3].Tenant != "fabrikam.example" || all[3].Mailboxes != 3 || all[3].Connected != 1 || personal != 1 {
		t.Errorf("of all campaigns: %+v, %d need no admin", all, personal)
	}
	if none, personal := r.Tenants("no such campaign"); len(none) != 0 || personal != 0 {
		t.Errorf("of no campaign: %+v, %d", none, personal)
	}
}

func TestATenantFollowsTheNews(t *testing.T) {
	t.Parallel()
	r, id := tenantRoster(), "box000000000000000000008"
	state := func() mailbox.AdminState {
		found, _ := r.Tenants("two")
		for _, one := range found {
			if one.Tenant == "tailspin.example" {
				return one.State
			}
		}
		return ""
	}
	for i, step := range []struct {
		news func(at time.Time)
		want mailbox.AdminState
	}{
		{func(time.Time) {}, mailbox.AdminNotAsked},
		{func(at time.Time) { r.Claim(id, sentBack(at)) }, mailbox.AdminNeeded},
		{func(at time.Time) {
			r.AdminConsent(mailbox.AdminConsent{App: "main", Tenant: "tailspin.example", GrantedAt: at})
		}, mailbox.AdminGranted},
		{func(at time.Time) { r.Claim(id, sentBack(at)) }, mailbox.AdminNeeded}, // the report was wrong
		{func(at time.Time) { r.Grant(id, savedAt(at)) }, mailbox.AdminProven},
	} {
		step.news(start().Add(time.Duration(i) * time.Second))
		if got := state(); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}
