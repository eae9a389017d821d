package warmy

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"kindling/internal/campaign"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

const (
	// perPage is the most that Warmy lists on a page.
	perPage = 100
	// maxPages bounds a listing that never ends: 100,000 mailboxes.
	maxPages = 1000
)

// Plan is a tariff plan type of an account.
type Plan = campaign.Plan

// Plans lists the tariff plans of an account.
func (c *Client) Plans(ctx context.Context, account string) ([]Plan, error) {
	return c.plans(ctx, account, 0)
}

func (c *Client) plans(ctx context.Context, account string, within time.Duration) ([]Plan, error) {
	got, err := c.get(ctx, account, "/api/v2/tariff_plan_types", within)
	if err != nil {
		return nil, err
	}
	plans, f := parsePlans(got)
	if f != nil {
		return nil, f
	}
	return plans, nil
}

// parsePlans reads the list of tariff plans. One without an id that can be meant is none; an id that comes twice counts
// once.
func parsePlans(body []byte) ([]Plan, *fault.Fault) {
	var raw []struct {
		ID   any `json:"id"`
		Name any `json:"name"`
	}
	if !utf8.Valid(body) || !singular(body) || unmarshal(body, &raw) != nil || raw == nil {
		return nil, untrusted("the list of tariff plans cannot be read")
	}
	plans := []Plan{}
	for _, item := range raw {
		id, _ := strconv.Atoi(identifier(item.ID))
		name, _ := item.Name.(string)
		if id > 0 && id <= math.MaxInt32 && !slices.ContainsFunc(plans, func(p Plan) bool { return p.ID == id }) {
			plans = append(plans, Plan{ID: id, Name: name})
		}
	}
	return plans, nil
}

// Ping makes the cheapest call that changes nothing, to see whether Warmy is back. The call takes ProbeEvery at most, its
// wait for the pace not included: a slow pace says nothing about Warmy.
func (c *Client) Ping(ctx context.Context, account string) error {
	_, err := c.plans(ctx, account, ProbeEvery)
	return err
}

// Item is one mailbox in a listing.
type Item struct {
	ID    string
	Email string
	State string // Warmy's state_key; empty in the simple listing
}

// Page is one page of a listing.
type Page struct {
	Items   []Item
	Current int
	Total   int // pages
	Count   int // mailboxes in all pages, as Warmy says
	Last    bool
}

// fits reports whether so many mailboxes fill so many pages, of which this one holds n. All pages but the last are full, so n
// is their size then; Warmy documents that it may be asked for, and nothing of what it does with an empty list.
func (p Page) fits(n int) bool {
	size := n
	if p.Last {
		size = perPage
	}
	switch {
	case n > perPage, p.Count < n, p.Count > p.Total*size:
		return false
	case p.Last: // the others may have been smaller than was asked for
		return p.Count >= p.Total-1
	}
	return p.Count > (p.Total-1)*size
}

// List returns a page, from 1, of the mailboxes whose address contains filter; all for an empty one.
// It is a substring match: the caller compares whole addresses.
func (c *Client) List(ctx context.Context, account, filter string, page int) (Page, error) {
	query := url.Values{
		"page": {strconv.Itoa(page)}, "per_page": {strconv.Itoa(perPage)}, "response_type": {"simple"},
	}
	if filter != "" {
		query.Set("filter[email]", filter)
	}
	got, err := c.get(ctx, account, mailboxesPath+"?"+query.Encode(), 0)
	if err != nil {
		return Page{}, err
	}
	listed, f := parsePage(got)
	if f != nil {
		return Page{}, f
	}
	if listed.Current != page {
		return Page{}, untrusted("Warmy listed another page than was asked for")
	}
	return listed, nil
}

// get makes a call that changes nothing: whatever happens, it may be made again. A refusal of the question itself
// says something about the API, not about a mailbox.
func (c *Client) get(ctx context.Context, account, path string, within time.Duration) ([]byte, error) {
	got, err := c.do(ctx, account, call{method: http.MethodGet, path: path, limit: maxListing, within: within})
	if err != nil {
		return nil, err
	}
	if f := failed(got, c.now()); f != nil {
		return nil, asQuestion(f, got.status)
	}
	return got.body, nil
}

// asQuestion words a failure of a call that is not about a mailbox.
func asQuestion(f *fault.Fault, status int) *fault.Fault {
	if f.Class == fault.Permanent || f.Code == mailbox.CodeTaken || f.Code == codePlanLimit {
		return byStatus(status)
	}
	return repeatable(f)
}

// parsePage reads a page. Whatever is odd in it makes it untrusted: a listing decides whether a mailbox is posted again.
func parsePage(body []byte) (Page, *fault.Fault) {
	var raw struct {
		Items *[]struct {
			ID    any    `json:"id"`
			Email string `json:"email"`
			State string `json:"state_key"`
		} `json:"items"`
		Pagination *struct {
			Current int  `json:"current_page"`
			Total   int  `json:"total_pages"`
			Count   int  `json:"total_count"`
			Next    *int `json:"next_page"`
		} `json:"pagination"`
	}
	if !singular(body) || unmarshal(body, &raw) != nil || raw.Items == nil || raw.Pagination == nil {
		return Page{}, untrusted("the listing cannot be read")
	}
	p := Page{Current: raw.Pagination.Current, Total: raw.Pagination.Total, Count: raw.Pagination.Count}
	p.Last = p.Current >= p.Total
	if p.Last != (raw.Pagination.Next == nil) || p.Total < 0 {
		return Page{}, untrusted("the listing contradicts itself about its last page")
	}
	if !p.fits(len(*raw.Items)) {
		return Page{}, untrusted("the number of mailboxes does not fit the number of pages")
	}
	for _, item := range *raw.Items {
		id := identifier(item.ID)
		if id == "" || item.Email == "" {
			return Page{}, untrusted("the listing holds a mailbox without id or address")
		}
		p.Items = append(p.Items, Item{ID: id, Email: item.Email, State: item.State})
	}
	return p, nil
}

// Find looks for the whole address in a complete listing, and trusts no other: an absence that is not real would
// post a mailbox twice.
func (c *Client) Find(ctx context.Context, account, address string) (id string, found bool, err error) {
	var s survey
	for page := 1; page <= maxPages; page++ {
		listed, err := c.List(ctx, account, canonical(address), page)
		if err != nil {
			return "", false, err
		}
		if f := s.add(listed); f != nil {
			return "", false, f
		}
		if listed.Last {
			if f := s.complete(); f != nil {
				return "", false, f
			}
			return s.find(address)
		}
	}
	return "", false, endless()
}
