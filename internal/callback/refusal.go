package callback

import (
	"net/http"
	"slices"
	"time"

	"kindling/internal/mailbox"
)

// refusal returns the page for one kind of the closed set below. Its text never depends on the request.
func refusal(kind string) reply {
	known := refusals()
	k := known[max(0, slices.IndexFunc(known, func(k refusalKind) bool { return k.name == kind }))]
	return reply{
		status: k.status, outcome: k.name,
		page: &page{Tone: k.tone, Title: k.title, Lines: k.lines, AgainText: "Start again"},
	}
}

// unavailable says that we, not the owner, have to put something right.
func unavailable(err error) reply {
	r := refusal("unavailable")
	r.err, r.retry, r.page.AgainText = err, 5*time.Second, "Try again"
	return r
}

// about names the mailbox in the log.
func (r reply) about(id mailbox.ID) reply {
	r.mailbox = id
	return r
}

// again offers the link's landing page.
func (r reply) again(link string) reply {
	r.page.Again = "/c/" + link
	return r
}

// contact shows whom to ask.
func (r reply) contact(app App) reply {
	r.page.Contact = app.Contact
	return r
}

// with answers with another status.
func (r reply) with(status int) reply {
	r.status = status
	return r
}

// refusalKind is one way in which a request can end without effect.
type refusalKind struct {
	name   string // counted and logged
	status int
	tone   string
	title  string
	lines  []string // what happened, then what to do
}

// refusals lists every kind. The first one is shown for a kind that is not listed.
func refusals() []refusalKind {
	return []refusalKind{
		{"unavailable", http.StatusServiceUnavailable, "stop", "Please try again in a moment", []string{
			"Something on our side does not answer just now. Nothing is lost, and you have done nothing wrong.",
			"Wait a moment, then reload this page.",
		}},
		{"malformed", http.StatusBadRequest, "stop", "This address is not complete", []string{
			"What your browser sent us is not what Microsoft sends. Nothing has been changed.",
			"Open the link in your invitation again.",
		}},
		{"other_browser", http.StatusForbidden, "stop", "Please start again in this browser", []string{
			"For your safety, connecting must end in the browser in which it began, and within a quarter of an hour.",
			"Open the link in your invitation again. If this page comes back, allow cookies for this site; private windows and mail apps sometimes refuse them.",
		}},
		{"cross_origin", http.StatusForbidden, "stop", "Please use our own page", []string{
			"This request came from another web site. Nothing has been changed.",
			"Open the link in your invitation and press the button there.",
		}},
		{"not_found", http.StatusNotFound, "stop", "We do not know this link", []string{
			"Perhaps a part of it was lost. Open it from your invitation once more, or copy all of it into the address bar.",
			"If it still does not open, ask whoever sent it to you for a new one.",
		}},
		{"method", http.StatusMethodNotAllowed, "stop", "This cannot be opened so", []string{
			"This address cannot be opened in this way. Nothing has been changed.",
			"Open the link in your invitation, and press the button there.",
		}},
		{"replaced", http.StatusGone, "stop", "There is a newer link", []string{
			"This link has been replaced, and does not work any more.",
			"Please use the one in the latest message that you received.",
		}},
		{"link_expired", http.StatusGone, "stop", "This link has expired", []string{
			"Links work for a limited time only.",
			"Ask whoever sent it to you for a new one.",
		}},
		{"erased", http.StatusGone, "stop", "This invitation has ended", []string{
			"The data about this mailbox have been removed.",
			"There is nothing left for you to do.",
		}},
		{"connected", http.StatusOK, "good", "Already connected", []string{
			"We have your consent for this mailbox.",
			"There is nothing left for you to do. You can close this page.",
		}},
		{"attempt_expired", http.StatusGone, "stop", "That took a little too long", []string{
			"For your safety, connecting has to be finished within a quarter of an hour. Nothing has been changed.",
			"Please start again; you can also open the link in your invitation.",
		}},
		{"conflict", http.StatusConflict, "stop", "This step was already done", []string{
			"An answer from Microsoft arrived for this attempt before. It counts; this one does not.",
			"As a rule there is nothing left for you to do. Start again to see how far your mailbox is.",
		}},
		{"receipt_expired", http.StatusGone, "stop", "This page has expired", []string{
			"It only showed how far things were. Your mailbox is not affected.",
			"Open the link in your invitation to see whether your mailbox is connected.",
		}},
		{"too_large", http.StatusRequestEntityTooLarge, "stop", "This is too much", []string{
			"What your browser sent is larger than anything that Microsoft sends. Nothing has been changed.",
			"Open the link in your invitation again.",
		}},
		{"url_too_long", http.StatusRequestURITooLong, "stop", "This address is too long", []string{
			"It is longer than any address of ours. Nothing has been changed.",
			"Open the link in your invitation again.",
		}},
		{"content_type", http.StatusUnsupportedMediaType, "stop", "Please use our own page", []string{
			"This is not how our page sends its button. Nothing has been changed.",
			"Open the link in your invitation and press the button there.",
		}},
		{"wrong_host", http.StatusMisdirectedRequest, "stop", "Wrong address", []string{
			"These pages live under another host name.",
			"Open the link exactly as it is in your invitation.",
		}},
		{"too_fast", http.StatusTooManyRequests, "stop", "One moment, please", []string{
			"Many requests arrive from your network just now. Nothing is lost.",
			"Wait a few seconds, and reload this page.",
		}},
		{"too_many_attempts", http.StatusTooManyRequests, "stop", "Too many attempts at once", []string{
			"This link's button was pressed many times, and the sign-in windows that it opened still wait.",
			"Finish one of them, or wait a quarter of an hour and open the link again.",
		}},
	}
}
