package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// The errors of a navigation that a browser would refuse, too.
var (
	// ErrForeignHost is returned for an address beyond loopback.
	ErrForeignHost = errors.New("crowd: not a loopback host")
	// ErrFormAction is returned when the page's own Content-Security-Policy
	// forbids its form to lead where it leads.
	ErrFormAction = errors.New("crowd: blocked by form-action")
	// ErrRedirects is returned after too many redirects.
	ErrRedirects = errors.New("crowd: too many redirects")
)

const (
	maxRedirects = 10
	maxPage      = 1 << 20
	agent        = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)

// page is what a browser shows.
type page struct {
	url    *url.URL
	status int
	title  string
	forms  []form
	header http.Header
}

// browser is one owner's browser.
type browser struct {
	client *http.Client
	jar    *jar
	page   page
	// twice repeats what hasty people repeat.
	twice bool
}

// navigation is one step of a visit, redirects included.
type navigation struct {
	method string
	to     *url.URL
	body   string
	// from is the page that leads there; nil for a typed address.
	from *page
	// strayed is set once a redirect led to another site.
	strayed bool
}

// open types an address.
func (b *browser) open(ctx context.Context, link string) error {
	to, err := url.Parse(link)
	if err != nil {
		return fmt.Errorf("crowd: link: %w", err)
	}
	return b.follow(ctx, navigation{method: http.MethodGet, to: to})
}

// submit sends a form of the page.
func (b *browser) submit(ctx context.Context, f form, values url.Values) error {
	to, err := b.page.url.Parse(f.action)
	if err != nil {
		return fmt.Errorf("crowd: form action: %w", err)
	}
	from := b.page
	nav := navigation{method: f.method, to: to, from: &from, body: values.Encode()}
	if f.method == http.MethodGet {
		to.RawQuery, nav.body = nav.body, ""
	}
	if err := b.rush(ctx, nav, b.twice); err != nil {
		return err
	}
	return b.follow(ctx, nav)
}

// rush makes a request whose answer nobody waits for, as the first of two
// clicks does.
func (b *browser) rush(ctx context.Context, nav navigation, hasty bool) error {
	if err := nav.allowed(); err != nil || !hasty {
		return err
	}
	resp, err := b.send(ctx, nav)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// follow goes where the navigation leads and shows the page at its end.
func (b *browser) follow(ctx context.Context, nav navigation) error {
	for range maxRedirects {
		if err := b.rush(ctx, nav, b.twice && nav.to.Query().Has("code")); err != nil {
			return err
		}
		resp, err := b.send(ctx, nav)
		if err != nil {
			return err
		}
		location := resp.Header.Get("Location")
		if resp.StatusCode < 300 || resp.StatusCode > 399 || location == "" {
			return b.show(nav.to, resp)
		}
		_ = resp.Body.Close()
		if nav, err = nav.redirected(resp.StatusCode, location); err != nil {
			return err
		}
	}
	return ErrRedirects
}

func (n navigation) redirected(status int, location string) (navigation, error) {
	to, err := n.to.Parse(location)
	if err != nil {
		return n, fmt.Errorf("crowd: location: %w", err)
	}
	if to.Host != n.to.Host {
		n.strayed = true
	}
	n.to = to
	if status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect {
		n.method, n.body = http.MethodGet, ""
	}
	return n, nil
}

// allowed refuses what a browser, or caution, would refuse.
func (n navigation) allowed() error {
	ip := net.ParseIP(n.to.Hostname())
	if n.to.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%w: %s", ErrForeignHost, n.to.Hostname())
	}
	if n.from == nil {
		return nil
	}
	return formAction(n.from, n.to)
}

// formAction applies the directive of that name to a form's target and, as
// Chrome does, to every redirect after it.
func formAction(from *page, to *url.URL) error {
	for directive := range strings.SplitSeq(from.header.Get("Content-Security-Policy"), ";") {
		words := strings.Fields(directive)
		if len(words) == 0 || words[0] != "form-action" {
			continue
		}
		for _, source := range words[1:] {
			if source == "'self'" && to.Host == from.url.Host || strings.TrimSuffix(source, "/") == to.Scheme+"://"+to.Host || source == "*" {
				return nil
			}
		}
		return fmt.Errorf("%w of %s: %s", ErrFormAction, from.url.Host, to.Host)
	}
	return nil
}

// crossSite reports whether the target counts as another site than the one
// that started the navigation.
func (n navigation) crossSite() bool {
	return n.from != nil && (n.strayed || n.from.url.Host != n.to.Host)
}

// send makes one request with the headers of a browser and keeps its cookies.
func (b *browser) send(ctx context.Context, nav navigation) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, nav.method, nav.to.String(), strings.NewReader(nav.body))
	if err != nil {
		return nil, fmt.Errorf("crowd: request: %w", err)
	}
	nav.dress(req.Header)
	for _, c := range b.jar.give(nav.to, nav.method, nav.crossSite()) {
		req.AddCookie(c) // sends name and value only
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("crowd: %w", err)
	}
	b.jar.keep(nav.to, resp.Cookies())
	return resp, nil
}

// dress sets the headers that a browser sends with a navigation.
func (n navigation) dress(h http.Header) {
	h.Set("User-Agent", agent)
	h.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	h.Set("Accept-Language", "en-GB,en;q=0.9")
	h.Set("Upgrade-Insecure-Requests", "1")
	h.Set("Sec-Fetch-Mode", "navigate")
	h.Set("Sec-Fetch-Dest", "document")
	h.Set("Sec-Fetch-User", "?1")
	switch {
	case n.from == nil:
		h.Set("Sec-Fetch-Site", "none")
	case n.crossSite():
		h.Set("Sec-Fetch-Site", "cross-site")
	default:
		h.Set("Sec-Fetch-Site", "same-origin")
	}
	if n.from == nil {
		return
	}
	policy, origin := n.from.header.Get("Referrer-Policy"), n.from.url.Scheme+"://"+n.from.url.Host
	silent := policy == "no-referrer" || policy == "same-origin" && n.crossSite()
	if n.method == http.MethodPost {
		h.Set("Content-Type", "application/x-www-form-urlencoded")
		h.Set("Origin", origin)
		if silent || n.strayed {
			h.Set("Origin", "null")
		}
	}
	if !silent {
		h.Set("Referer", origin+"/")
	}
}

// show reads the page at the end of a navigation.
func (b *browser) show(at *url.URL, resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return fmt.Errorf("crowd: read page: %w", err)
	}
	b.page = page{url: at, status: resp.StatusCode, header: resp.Header}
	b.page.title, b.page.forms = read(body)
	return nil
}

// form returns the form with an id, or the first one that posts for "".
func (p page) form(id string) (form, bool) {
	for _, f := range p.forms {
		if f.id == id || id == "" && f.method == http.MethodPost {
			return f, true
		}
	}
	return form{}, false
}
