package callback

import (
	"net/url"
	"strings"

	"kindling/internal/mailbox"
)

// adminTexts are what a tenant's admin should know before agreeing for everybody.
type adminTexts struct {
	Action      string // where the button posts to
	Operator    string
	App         string
	Tenant      string
	LoginHost   string
	Permissions []string
	Until       string
}

// adminPage describes what pressing the button means for the whole organisation.
func (e *edge) adminPage(v adminVisit) *page {
	host := v.app.LoginOrigin
	if origin, err := url.Parse(v.app.LoginOrigin); err == nil {
		host = origin.Host
	}
	return &page{
		Tone: "plain", Title: "Allow your people to connect", Contact: v.app.Contact,
		Admin: &adminTexts{
			Action: "/admin-consent/" + v.token + "/start", Operator: orDefault(v.app.Operator, "The sender of this link"), App: v.app.Name,
			Tenant: v.link.Tenant, LoginHost: host, Permissions: adminWords(v.app.Scopes), Until: v.link.Expires.UTC().Format("2 January 2006"),
		},
	}
}

// adminWords says what the scopes allow in the mailboxes of those who connect: an admin's consent alone opens none.
func adminWords(scopes []string) []string {
	lines := inWords(scopes)
	for i, line := range lines {
		switch line {
		case scopeWords("User.Read"):
			lines[i] = "See the name and address of who connects, to be sure that the mailbox is theirs"
		case scopeWords("offline_access"):
			lines[i] = "Keep this access until its owner, or you, take it back"
		default:
			lines[i] = strings.ReplaceAll(line, "this mailbox", "a mailbox that its owner connects")
		}
	}
	return lines
}

// adminDonePage puts the answer into words. It says what Microsoft answered and promises no more.
func adminDonePage(receipt adminReceipt) *page {
	p := &page{Tone: "stop", AgainText: "Start again"}
	if receipt.State == mailbox.AdminGranted {
		p.Tone, p.Title, p.AgainText = "good", "Thank you", ""
		p.Lines = []string{
			"Microsoft says that you agreed for " + receipt.Tenant + ". It can take a few minutes until that holds everywhere.",
			"Nothing has been connected yet: each owner still opens a link of their own and decides. Those who were turned away may use theirs again.",
			"You can take this back at any time: in the Microsoft Entra admin center under Enterprise applications, choose the app, and remove its permissions or the app.",
		}
		return p
	}
	switch receipt.Reason {
	case mailbox.Declined:
		p.Title, p.Lines = "You did not agree", []string{"Nothing has been changed, and nobody’s mailbox has been connected. If that was a mistake, you can start again."}
	case mailbox.NotAdmin:
		p.Title, p.Lines = "An administrator has to do this", []string{
			"Microsoft does not let the account that you used agree for the whole organisation. Nothing has been changed.",
			"Please pass the link on to somebody who may: a Global Administrator, a Privileged Role Administrator or a Cloud Application Administrator.",
		}
	default:
		p.Title, p.Lines = "Signing in did not work", []string{"Microsoft could not finish the sign-in. Nothing has been changed. Please start again."}
	}
	return p
}
