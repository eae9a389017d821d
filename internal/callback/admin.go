package callback

import (
	"net/http"
	"time"

	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// adminVisit is a tenant's link that opens.
type adminVisit struct {
	token string
	link  mailbox.AdminLink
	app   App
}

// adminLanding shows a tenant's admin what the link asks for. It has no effect: mail scanners open links too.
func (e *edge) adminLanding(r *http.Request) reply {
	v, refused := e.adminVisit(r)
	if refused != nil {
		return *refused
	}
	return reply{status: http.StatusOK, outcome: "shown", page: e.adminPage(v)}
}

// adminStart sends the admin's browser to Microsoft. Nothing is stored: what finishes the attempt is in the browser alone,
// so that a link can be pressed as often as somebody likes without filling anything.
func (e *edge) adminStart(r *http.Request) reply {
	if r.ContentLength != 0 {
		if _, problem := form(r); problem != "" {
			return refusal(problem)
		}
	}
	v, refused := e.adminVisit(r)
	if refused != nil {
		return *refused
	}
	began, err := e.adminBegin(v)
	if err != nil {
		return unavailable(err).againAt("/admin-consent/" + v.token)
	}
	return began
}

func (e *edge) adminBegin(v adminVisit) (reply, error) {
	random, err := e.random(1)
	if err != nil {
		return reply{}, err
	}
	now, state := e.Now().UTC(), secret.New(encode(random[0]))
	cookie, err := e.adminCookie(adminTicket{
		App: v.link.App, Tenant: v.link.Tenant, StateHash: mailbox.Hash(state.Reveal()), Link: v.token, Issued: now, Expires: now.Add(e.AttemptLife),
	})
	if err != nil {
		return reply{}, err
	}
	return reply{
		status: http.StatusSeeOther, location: v.app.AdminConsentURL(v.link.Tenant, state), cookies: []*http.Cookie{cookie}, outcome: "started",
	}, nil
}

// adminVisit reads the request's link, or says why it does not open. It says the same of every forged one.
func (e *edge) adminVisit(r *http.Request) (adminVisit, *reply) {
	refuse := func(a reply) (adminVisit, *reply) { return adminVisit{}, &a }
	token := unwrapped(r.PathValue("token"))
	link, ok := e.ParseAdminLink(token)
	app, known := e.Apps[link.App]
	switch {
	case !ok || !known || app.AdminConsentURL == nil || !mailbox.NamesTenant(link.Tenant):
		return refuse(refusal("not_found"))
	case link.Expired(e.Now()):
		return refuse(refusal("link_expired").contact(app))
	}
	return adminVisit{token: token, link: link, app: app}, nil
}

// againAt offers a page as a button.
func (r reply) againAt(path string) reply {
	r.page.Again = path
	return r
}

// adminReceipt is what the page after an admin's answer says. It is in the page's address, sealed, so that no store is
// asked and nobody can make one.
type adminReceipt struct {
	App    string             `json:"app"`
	Tenant string             `json:"tenant"`
	State  mailbox.AdminState `json:"state"`
	Reason string             `json:"reason,omitempty"`
	Link   string             `json:"link"`
	At     time.Time          `json:"at"`
}

const adminReceiptContext = "v1|admin-done"

func (e *edge) adminDonePath(receipt adminReceipt) (string, error) {
	sealed, err := e.sealJSON(receipt, adminReceiptContext)
	return "/admin-done/" + sealed, err
}

// adminDone tells the admin what the answer means for the people of the tenant.
func (e *edge) adminDone(r *http.Request) reply {
	var receipt adminReceipt
	if err := e.openJSON(r.PathValue("token"), adminReceiptContext, &receipt); err != nil {
		return refusal("not_found")
	}
	app, known := e.Apps[receipt.App]
	switch {
	case !known:
		return refusal("not_found")
	case e.Now().After(receipt.At.Add(receiptLife)):
		return refusal("receipt_expired")
	}
	p := adminDonePage(receipt)
	p.Contact = app.Contact
	link, ok := e.ParseAdminLink(receipt.Link)
	if p.AgainText != "" && ok && !link.Expired(e.Now()) {
		p.Again = "/admin-consent/" + receipt.Link
	}
	return reply{status: http.StatusOK, page: p, outcome: string(receipt.State)}
}
