package warmy_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/fault"
	"kindling/internal/warmy"
)

// page is a listing's page in Warmy's form.
func page(current, total, count int, items ...map[string]any) map[string]any {
	if items == nil {
		items = []map[string]any{}
	}
	p := map[string]any{"current_page": current, "total_pages": total, "total_count": count, "next_page": nil, "prev_page": nil}
	if current < total {
		p["next_page"] = current + 1
	}
	return map[string]any{"items": items, "pagination": p}
}

func item(id any, email string) map[string]any { return map[string]any{"id": id, "email": email} }

// pages answers page n with the n-th of them.
func pages(t *testing.T, listing ...map[string]any) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("page"))
		if err != nil || n < 1 || n > len(listing) {
			t.Errorf("asked for page %q of %d", r.URL.Query().Get("page"), len(listing))
			n = 1
		}
		say(200, encode(t, listing[n-1]))(w, r)
	}
}

func TestAnAddressIsFoundWholly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listing []map[string]any
		id      string
		found   bool
	}{
		"absent":            {[]map[string]any{page(1, 1, 0)}, "", false},
		"absent, no pages":  {[]map[string]any{page(1, 0, 0)}, "", false},
		"only a longer one": {[]map[string]any{page(1, 1, 1, item(5, "x"+address))}, "", false},
		"other case":        {[]map[string]any{page(1, 1, 2, item(5, "x"+address), item(6, strings.ToUpper(address)))}, "6", true},
		"outer spaces":      {[]map[string]any{page(1, 1, 1, item("7", " "+address+" "))}, "7", true},
		"on page two":       {[]map[string]any{page(1, 2, 2, item(1, "a@x.example")), page(2, 2, 2, item(2, address))}, "2", true},
		"disconnected":      {[]map[string]any{page(1, 1, 1, map[string]any{"id": 9, "email": address, "state_key": "reconnect"})}, "9", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, pages(t, c.listing...))
			pace := &pacer{}
			id, found, err := newClient(t, bearer(f.URL), pace, time.Second).Find(t.Context(), "main", address)
			if err != nil || id != c.id || found != c.found {
				t.Errorf("Find() = %q, %t, %v", id, found, err)
			}
			if pace.count() != len(c.listing) {
				t.Errorf("paced %d calls of %d", pace.count(), len(c.listing))
			}
			query, err := url.ParseQuery(f.got()[0].query)
			want := url.Values{"page": {"1"}, "per_page": {"100"}, "response_type": {"simple"}, "filter[email]": {address}}
			if diff := cmp.Diff(want, query); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestAnOddListingIsNotTrusted(t *testing.T) {
	t.Parallel()
	a, b := item(1, "a@x.example"), item(2, "b@x.example")
	noNext := page(1, 2, 2, a)
	if p, ok := noNext["pagination"].(map[string]any); ok {
		p["next_page"] = nil
	}
	for name, listing := range map[string][]map[string]any{
		"page 2 is page 1":            {page(1, 2, 2, a), page(1, 2, 2, a)},
		"page 2 repeats page 1":       {page(1, 2, 2, a), page(2, 2, 2, a)},
		"the total changes midway":    {page(1, 2, 2, a), page(2, 2, 3, b)},
		"shorter than it says":        {page(1, 1, 2, a)},
		"longer than it says":         {page(1, 1, 1, a, b)},
		"empty in the middle":         {page(1, 3, 3, a), page(2, 3, 3), page(3, 3, 3, b)},
		"more than its pages hold":    {page(1, 2, 3, a), page(2, 2, 3, b)},
		"fewer than its pages hold":   {page(1, 3, 2, a), page(2, 3, 2, b), page(3, 3, 2)},
		"a nonsense count":            {page(1, 1, 1<<30, a)},
		"mailboxes on no page":        {page(1, 0, 1)},
		"says there is no next":       {noNext},
		"an item without an address":  {page(1, 1, 1, item(1, ""))},
		"an item without an id":       {page(1, 1, 1, item(nil, address))},
		"an id on two mailboxes":      {page(1, 1, 2, a, item(1, address))},
		"no pagination":               {{"items": []any{}}},
		"no items":                    {{"pagination": page(1, 1, 0)["pagination"]}},
		"items is an object":          {{"items": map[string]any{}, "pagination": page(1, 1, 0)["pagination"]}},
		"a negative number of things": {page(1, 1, -1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, found, err := client(t, newFake(t, pages(t, listing...))).Find(t.Context(), "main", address)
			wants(t, err, fault.Transient, "warmy_listing_untrusted")
			if found {
				t.Error("found")
			}
		})
	}
}

func TestAnAddressListedTwiceIsForTheOperator(t *testing.T) {
	t.Parallel()
	f := newFake(t, pages(t, page(1, 1, 2, item(1, address), item(2, strings.ToUpper(address)))))
	_, _, err := client(t, f).Find(t.Context(), "main", address)
	wants(t, err, fault.Permanent, "warmy_listed_twice")
}

func TestAnEndlessListingEnds(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("page"))
		say(200, encode(t, page(n, n+1, n+1, item(n, fmt.Sprintf("m%d@x.example", n)))))(w, r)
	})
	_, _, err := client(t, f).Find(t.Context(), "main", address)
	wants(t, err, fault.Transient, "warmy_listing_untrusted")
	if got := len(f.got()); got != 1000 {
		t.Errorf("%d pages were read", got)
	}
}

func TestAFailedListingIsNeverUnclear(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  fault.Class
		code   string
	}{
		"500":        {say(500, ""), fault.Transient, "warmy_5xx"},
		"time-out":   {hang, fault.Transient, "warmy_timeout"},
		"slow drip":  {drip(`{"items":`), fault.Transient, "warmy_timeout"},
		"EOF":        {cut(""), fault.Transient, "warmy_connection_lost"},
		"short body": {cut("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), fault.Transient, "warmy_connection_lost"},
		"endless":    {endless, fault.Transient, "warmy_unreadable"},
		"HTML":       {say(200, "<html>"), fault.Transient, "warmy_listing_untrusted"},
		"empty":      {say(200, ""), fault.Transient, "warmy_listing_untrusted"},
		"plain text": {say(200, "success"), fault.Transient, "warmy_listing_untrusted"},

		"maintenance page":           {say(503, "<html>maintenance"), fault.Transient, "warmy_5xx"},
		"maintenance page, with 200": {say(200, "<html>maintenance"), fault.Transient, "warmy_listing_untrusted"},
		"429":                        {say(429, "", "Retry-After", "5"), fault.RetryAfter, "warmy_429"},
		"401":                        {say(401, ""), fault.LegDown, "warmy_401"},
		"403":                        {say(403, ""), fault.LegDown, "warmy_403"},
		"404":                        {say(404, ""), fault.LegDown, "warmy_api_changed"},
		"400":                        {say(400, ""), fault.LegDown, "warmy_api_changed"},
		"422":                        {say(422, `{"errors":["already taken"]}`), fault.LegDown, "warmy_api_changed"},
		"409":                        {say(409, ""), fault.LegDown, "warmy_api_changed"},
		"302":                        {say(302, "", "Location", "/x"), fault.LegDown, "warmy_redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := newClient(t, bearer(newFake(t, c.answer).URL), nil, timeoutFor(c.code)).Find(t.Context(), "main", address)
			wants(t, err, c.class, c.code)
		})
	}
}

func TestAPageIsListedAsWarmyGivesIt(t *testing.T) {
	t.Parallel()
	f := newFake(t, pages(t, page(1, 2, 3, item(1, "a@x.example"), map[string]any{"id": 2, "email": "b@x.example", "state_key": "trial"})))
	got, err := client(t, f).List(t.Context(), "main", "", 1)
	want := warmy.Page{Items: []warmy.Item{{ID: "1", Email: "a@x.example"}, {ID: "2", Email: "b@x.example", State: "trial"}}, Current: 1, Total: 2, Count: 3}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if query, err := url.ParseQuery(f.got()[0].query); err != nil || query.Has("filter[email]") {
		t.Errorf("asked with %v", slices.Sorted(maps.Keys(query)))
	}
}

// TestAPageWhoseCountDoesNotFitIsNone: its first page alone tells how many mailboxes an account has.
func TestAPageWhoseCountDoesNotFitIsNone(t *testing.T) {
	t.Parallel()
	a, b := item(1, "a@x.example"), item(2, "b@x.example")
	for name, c := range map[string]struct {
		page map[string]any
		ok   bool
	}{
		"two pages of two, full":      {page(1, 2, 4, a, b), true},
		"two pages of two, one short": {page(1, 2, 3, a, b), true},
		"one too many":                {page(1, 2, 5, a, b), false},
		"one too few":                 {page(1, 2, 2, a, b), false},
		"a nonsense count":            {page(1, 2, 1<<30, a, b), false},
		"a nonsense number of pages":  {page(1, 1<<30, 4, a, b), false},
		"more listed than there are":  {page(1, 1, 1, a, b), false},
		"mailboxes on no page":        {page(1, 0, 2, a, b), false},
		"a page of none":              {page(1, 1, 0), true},
		"no page":                     {page(1, 0, 0), true},
	} {
		_, err := client(t, newFake(t, pages(t, c.page))).List(t.Context(), "main", "", 1)
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			wants(t, err, fault.Transient, "warmy_listing_untrusted")
		}
	}
}

func TestPlansAreListed(t *testing.T) {
	t.Parallel()
	f := newFake(t, say(200, `[{"id":41,"name":"Premium"},{"id":7,"name":"Trial","extra":1}]`))
	c := client(t, f)
	plans, err := c.Plans(t.Context(), "main")
	if diff := cmp.Diff([]warmy.Plan{{ID: 41, Name: "Premium"}, {ID: 7, Name: "Trial"}}, plans); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if f.got()[0].path != "/api/v2/tariff_plan_types" {
		t.Errorf("asked %s", f.got()[0].path)
	}
	for body, want := range map[string]int{
		"[]": 0, `[{"id":"41","name":null}]`: 1, `[{"id":0},{"id":-1},{"id":null},{},null,{"id":1e20},{"id":5000000000},{"id":"x"}]`: 0, `[{"id":1},{"id":1}]`: 1,
	} {
		f.answer(say(200, body))
		if plans, err := c.Plans(t.Context(), "main"); err != nil || len(plans) != want {
			t.Errorf("%s: %v, %v", body, plans, err)
		}
	}
	for _, body := range []string{`{"id":1}`, "", "null", "success", "<html>", "[1]", `[{"id":1,"id":2}]`, `[{"id":1}]x`, "[{\"id\":1,\"name\":\"\xe4\"}]"} {
		f.answer(say(200, body))
		_, err = c.Plans(t.Context(), "main")
		wants(t, err, fault.Transient, "warmy_listing_untrusted")
	}
	f.answer(say(401, ""))
	_, err = c.Plans(t.Context(), "main")
	wants(t, err, fault.LegDown, "warmy_401")
}
