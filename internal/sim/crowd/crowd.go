// Package crowd plays mailbox owners: scripted people who follow consent links
// as browsers do, with cookies, redirects, forms and the headers that tell a
// server where a navigation came from.
//
// It is as strict as a browser where that can break a login in the wild: it
// obeys SameSite, the __Host- prefix, form-action and Referrer-Policy. It
// visits loopback hosts only, so a script can never bother a real service.
package crowd

import (
	"context"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"kindling/internal/sim/trouble"
)

// Behaviour is what an owner does with the link.
type Behaviour string

// The behaviours.
const (
	// Accept signs in with the invited address and consents.
	Accept Behaviour = "accept"
	// Decline signs in and refuses.
	Decline Behaviour = "decline"
	// WrongAccount consents with another account than the invited one.
	WrongAccount Behaviour = "wrong_account"
	// SlowCode consents, but the code has expired when it comes back.
	SlowCode Behaviour = "slow_code"
	// Abandon leaves at the consent page.
	Abandon Behaviour = "abandon"
	// DoubleClick consents, presses every button twice, calls back twice and
	// reloads the last page.
	DoubleClick Behaviour = "double_click"
)

// Stage is how far a visit came.
type Stage string

// The stages.
const (
	// Landed: on the link's page, which offered no start.
	Landed Stage = "landed"
	// Refused: the start was answered by a page of the product.
	Refused Stage = "refused"
	// AtMicrosoft: left, or was left, on a page of the sign-in.
	AtMicrosoft Stage = "at_microsoft"
	// Returned: back at the product, whatever it says there.
	Returned Stage = "returned"
)

// Outcome is the page that a visit ended on.
type Outcome struct {
	Stage  Stage
	Status int
	// Path is the page's path, without the query.
	Path  string
	Title string
}

// Plan is one visit to make.
type Plan struct {
	Link      string
	Address   string
	Behaviour Behaviour
}

// Crowd makes visits. The zero Crowd is ready for use.
type Crowd struct {
	// Transport carries the requests; nil means one without a proxy whose
	// connections are shared by all owners.
	Transport http.RoundTripper
	// Timeout bounds each request; 0 means 30 s.
	Timeout time.Duration
	// Concurrency bounds the visits of Run at one time; 0 means 8.
	Concurrency int
	// Every is the time between the starts of two visits of Run; 0 means none.
	Every time.Duration
	// Impostor names the account that WrongAccount consents with; nil means
	// the address with "not." before it.
	Impostor func(address string) string
	// Now is the clock of the cookies; nil means time.Now.
	Now func() time.Time
}

// Visit follows one link: an owner's, or a tenant's as its administrator would,
// who signs in with the address. The error is about the way, never about what the
// pages say: that is in the outcome.
func (c Crowd) Visit(ctx context.Context, link, address string, does Behaviour) (Outcome, error) {
	c, release := c.filled()
	defer release()
	b := &browser{client: c.client(), jar: newJar(c.Now), twice: does == DoubleClick}
	stage, err := c.visit(ctx, b, Plan{Link: link, Address: address, Behaviour: does})
	out := Outcome{Stage: stage, Status: b.page.status, Title: b.page.title}
	if b.page.url != nil {
		out.Path = b.page.url.Path
	}
	return out, err
}

func (c Crowd) visit(ctx context.Context, b *browser, p Plan) (Stage, error) {
	if err := b.open(ctx, p.Link); err != nil {
		return Landed, err
	}
	start, ok := b.page.form("")
	if !ok {
		return Landed, nil
	}
	home := b.page.url.Host
	if err := b.submit(ctx, start, start.press("")); err != nil {
		return Landed, err
	}
	if b.page.url.Host == home {
		return Refused, nil
	}
	consent, ok := b.page.form("consent")
	if !ok || p.Behaviour == Abandon {
		return AtMicrosoft, nil
	}
	if err := b.submit(ctx, consent, c.decide(consent, p)); err != nil {
		return AtMicrosoft, err
	}
	return c.comeBack(ctx, b, home)
}

// decide fills in the consent form.
func (c Crowd) decide(consent form, p Plan) map[string][]string {
	address, action := p.Address, "accept"
	switch p.Behaviour {
	case Decline:
		action = "decline"
	case SlowCode:
		action = "accept_late"
	case WrongAccount:
		address = c.Impostor(p.Address)
	case Accept, Abandon, DoubleClick:
	}
	values := consent.press(action)
	values.Set("address", address)
	return values
}

// comeBack presses Continue where the sign-in answers by a form.
func (c Crowd) comeBack(ctx context.Context, b *browser, home string) (Stage, error) {
	if next, ok := b.page.form("continue"); ok && b.page.url.Host != home {
		if err := b.submit(ctx, next, next.press("")); err != nil {
			return AtMicrosoft, err
		}
	}
	if b.page.url.Host != home {
		return AtMicrosoft, nil
	}
	if b.twice {
		return Returned, b.open(ctx, b.page.url.String())
	}
	return Returned, nil
}

// Run makes the visits that plans yields, some at a time, and tells done about
// each; done is called by one goroutine at a time. Run returns when all visits
// have ended; a cancelled context starts no more of them.
func (c Crowd) Run(ctx context.Context, plans iter.Seq[Plan], done func(Plan, Outcome, error)) {
	c, release := c.filled()
	defer release()
	queue := make(chan Plan)
	var owners sync.WaitGroup
	var telling sync.Mutex
	for range c.Concurrency {
		owners.Go(func() {
			for p := range queue {
				out, err := c.Visit(ctx, p.Link, p.Address, p.Behaviour)
				telling.Lock()
				done(p, out, err)
				telling.Unlock()
			}
		})
	}
	c.feed(ctx, plans, queue)
	close(queue)
	owners.Wait()
}

func (c Crowd) feed(ctx context.Context, plans iter.Seq[Plan], queue chan<- Plan) {
	for p := range plans {
		select {
		case queue <- p:
		case <-ctx.Done():
			return
		}
		trouble.Wait(ctx, c.Every)
	}
}

// filled sets the defaults; the function it returns lets go of connections
// that belong to nobody else.
func (c Crowd) filled() (Crowd, func()) {
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Impostor == nil {
		c.Impostor = func(address string) string { return "not." + address }
	}
	if c.Transport != nil {
		return c, func() {}
	}
	own := &http.Transport{MaxIdleConnsPerHost: c.Concurrency, IdleConnTimeout: 30 * time.Second}
	c.Transport = own
	return c, own.CloseIdleConnections
}

// client never follows redirects: the browser does, with its own cookies.
func (c Crowd) client() *http.Client {
	return &http.Client{
		Transport: c.Transport, Timeout: c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Mix is how a crowd is made up: the share of owners with each behaviour; the
// rest accepts.
type Mix struct {
	Decline, WrongAccount, SlowCode, Abandon, DoubleClick float64
	Seed                                                  uint64
}

// Of returns the behaviour of an owner: always the same for a seed.
func (m Mix) Of(address string) Behaviour {
	at := trouble.Share(m.Seed, strings.ToLower(address))
	for _, part := range []struct {
		share float64
		does  Behaviour
	}{
		{m.Decline, Decline},
		{m.WrongAccount, WrongAccount},
		{m.SlowCode, SlowCode},
		{m.Abandon, Abandon},
		{m.DoubleClick, DoubleClick},
	} {
		if at < part.share {
			return part.does
		}
		at -= part.share
	}
	return Accept
}
