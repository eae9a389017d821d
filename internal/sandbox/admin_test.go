package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"kindling/internal/console"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
	"kindling/internal/service"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/msid"
)

const (
	blockedTenant = "northwind.example"
	freeTenant    = "harbor.example"
)

// admission is a campaign of two tenants, one of which lets only its admin consent.
type admission struct {
	*guardedFleet

	ctx      context.Context //nolint:containedctx // of the one test
	t        *testing.T
	operator *api
	campaign string
	links    []console.LinkView
}

func newAdmission(ctx context.Context, t *testing.T, f *guardedFleet) *admission {
	t.Helper()
	token, err := os.ReadFile(f.settings.Data.TokenFile())
	if err != nil {
		t.Fatal(err)
	}
	a := &admission{guardedFleet: f, ctx: ctx, t: t, operator: newAPI("http://"+f.settings.ConsoleListen, secret.New(strings.TrimSpace(string(token))))}
	switches := f.world.Microsoft.Switches()
	switches.AdminConsentTenants = []string{blockedTenant}
	f.world.Microsoft.Turn(switches)
	a.eventually("the console is ready", func() error { return a.operator.do(ctx, http.MethodGet, "/status", "", nil, nil) })
	csv := "email\nann@" + blockedTenant + "\nben@" + blockedTenant + "\ncy@" + freeTenant + "\n"
	report, err := a.operator.importCSV(ctx, "two tenants", []byte(csv))
	if err != nil || report.Invited != 3 {
		t.Fatalf("invited %d: %v", report.Invited, err)
	}
	a.campaign = report.Campaign
	if a.links, err = a.operator.links(ctx, a.campaign); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *admission) eventually(what string, holds func() error) {
	a.t.Helper()
	if err := service.Poll(a.ctx, holds); err != nil {
		a.t.Fatalf("it never came true that %s: %v\n%q", what, err, *a.denied.found)
	}
}

// owners lets every owner follow the link that was handed out before the admin was asked.
func (a *admission) owners() {
	a.t.Helper()
	crowd.Crowd{Concurrency: 3}.Run(a.ctx, plans(a.links, nil), func(p crowd.Plan, _ crowd.Outcome, err error) {
		if err != nil {
			a.t.Errorf("the owner of %s: %v", p.Address, err)
		}
	})
}

// tenant waits until the blocked tenant is in a state.
func (a *admission) tenant(state mailbox.AdminState, reason string) console.TenantView {
	a.t.Helper()
	var found console.TenantView
	a.eventually("the tenant is "+string(state), func() error {
		var list console.TenantList
		if err := a.operator.do(a.ctx, http.MethodGet, "/campaigns/"+a.campaign+"/tenants", "", nil, &list); err != nil {
			return err
		}
		for _, one := range list.Tenants {
			if one.Tenant == blockedTenant {
				found = one
			}
		}
		if found.Consent != state || found.Reason != reason {
			return fmt.Errorf("it is %+v", found)
		}
		return nil
	})
	return found
}

// inState waits until that many mailboxes of the campaign are in a state.
func (a *admission) inState(state mailbox.State, n int) {
	a.t.Helper()
	a.eventually(fmt.Sprintf("%d are %s", n, state), func() error {
		view, err := a.operator.campaign(a.ctx, a.campaign)
		if err == nil && view.Funnel.ByState[state] != n {
			err = fmt.Errorf("the mailboxes are %v", view.Funnel.ByState)
		}
		return err
	})
}

// admin follows the tenant's link in a browser of its own.
func (a *admission) admin(does crowd.Behaviour) crowd.Outcome {
	a.t.Helper()
	var link console.TenantLink
	if err := a.operator.post(a.ctx, "/tenants/link", console.TenantRef{App: "main", Tenant: blockedTenant}, &link); err != nil {
		a.t.Fatal(err)
	}
	if strings.Contains(link.Link, "northwind") || !strings.HasPrefix(link.Link, a.settings.PublicURL+"/admin-consent/") {
		a.t.Errorf("the link is %s", link.Link)
	}
	out, err := crowd.Crowd{}.Visit(a.ctx, link.Link, "boss@"+blockedTenant, does)
	if err != nil || out.Stage != crowd.Returned || out.Status != http.StatusOK || !strings.HasPrefix(out.Path, "/admin-done/") {
		a.t.Fatalf("the admin ends on %+v: %v", out, err)
	}
	return out
}

// TestOwnersOfABlockedTenantConnectWhenTheirAdminHasAgreed goes all the way with the users of deployments/nats: what an
// operator sees before, what the owners meet, what the admin does, and the same links once more.
func TestOwnersOfABlockedTenantConnectWhenTheirAdminHasAgreed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	f := startGuarded(t, &out)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	a := newAdmission(ctx, t, f)
	if before := a.tenant(mailbox.AdminNotAsked, ""); before.Mailboxes != 2 || before.Connected != 0 {
		t.Errorf("before anything happened: %+v", before)
	}

	a.owners()
	a.inState(mailbox.StateNeedsConsent, 2)
	a.inState(mailbox.StateRegistered, 1)
	if stopped := a.tenant(mailbox.AdminNeeded, ""); stopped.Blocked != 2 {
		t.Errorf("after the owners were sent back: %+v", stopped)
	}
	a.reasons(mailbox.AdminRequired)

	if err := f.world.Microsoft.Fault(msid.Refusal(msid.OpAdmin, 90094)); err != nil {
		t.Fatal(err)
	}
	if page := a.admin(crowd.Accept); page.Title != "An administrator has to do this" {
		t.Errorf("somebody who is no admin ends on %q", page.Title)
	}
	a.tenant(mailbox.AdminRefused, mailbox.NotAdmin)
	f.world.Microsoft.ClearFaults()
	if page := a.admin(crowd.Decline); page.Title != "You did not agree" {
		t.Errorf("an admin who declines ends on %q", page.Title)
	}
	a.tenant(mailbox.AdminRefused, mailbox.Declined)
	if page := a.admin(crowd.DoubleClick); page.Title != "Thank you" {
		t.Errorf("an admin who agrees ends on %q", page.Title)
	}
	a.tenant(mailbox.AdminGranted, "")

	a.owners()
	a.inState(mailbox.StateRegistered, 3)
	if after := a.tenant(mailbox.AdminProven, ""); after.Connected != 2 || after.Blocked != 0 {
		t.Errorf("in the end: %+v", after)
	}
	if found := *f.denied.found; len(found) > 0 {
		t.Errorf("rights are missing:\n%s", strings.Join(found, "\n"))
	}
}

// reasons asserts why the mailboxes of the campaign need consent.
func (a *admission) reasons(want string) {
	a.t.Helper()
	found, err := a.operator.mailboxes(a.ctx, a.campaign)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, m := range found {
		if m.State == mailbox.StateNeedsConsent && (m.ReasonCode != want || !strings.Contains(m.Remedy, "admin")) {
			a.t.Errorf("%s needs consent because of %s: %s", m.ID, m.ReasonCode, m.Remedy)
		}
	}
}
