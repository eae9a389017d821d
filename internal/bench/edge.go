package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/service"
)

// edge measures what an owner waits for: from the callback's request to the answer that is given only when claim and
// code are on disk. Requests are sent by the clock, whether or not earlier ones were answered. Then come callbacks that no
// owner sent: of those, nothing may be stored.
func (o options) edge(ctx context.Context) (figures []figure, err error) {
	p, err := newRig(ctx, &simulator{}, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	address, err := unusedAddress(ctx)
	if err != nil {
		return nil, err
	}
	edge := &p.host.Config.Edge
	edge.Listen, edge.PublicURL = address, "http://"+address
	p.host.Config.Apps[0].RedirectURI = edge.PublicURL + "/oauth-callback/main"
	p.host.Config.Apps[0].Authority, p.host.Config.Apps[0].GraphURL = "http://127.0.0.1:2", "http://127.0.0.1:2"
	other := p.host.Config.Apps[0]
	other.Name, other.RedirectURI = "other", edge.PublicURL+"/oauth-callback/other"
	p.host.Config.Apps = append(p.host.Config.Apps, other)
	running, stop := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return app.Edge(running, p.host) })
	group.Go(func() error {
		defer stop()
		figures, err = o.callbacks(running, p, edge.PublicURL)
		return err
	})
	err = group.Wait()
	return figures, err
}

// callback is what one owner's browser brings back from Microsoft.
type callback struct {
	state  string
	cookie *http.Cookie
}

// callbacks measures both kinds; a failure of the first does not keep it from the second.
func (o options) callbacks(ctx context.Context, p *rig, base string) ([]figure, error) {
	client := browser()
	defer client.CloseIdleConnections()
	if err := service.Poll(ctx, func() error { _, err := visit(ctx, client, http.MethodGet, base+"/c/x", nil); return err }); err != nil {
		return nil, err
	}
	owners, err := p.owners(ctx, client, base, max(1, int(o.edgeTime.Seconds()*float64(o.edgeRate))))
	if err != nil {
		return nil, err
	}
	var figures []figure
	took, refused := o.fire(ctx, client, base, owners)
	if refused == nil {
		figures = append(figures, o.accepted(took))
	}
	forged, err := o.forge(ctx, p, client, base)
	return append(figures, forged...), errors.Join(refused, err)
}

// owners invites n owners and has each press the button.
func (p *rig) owners(ctx context.Context, client *http.Client, base string, n int) ([]callback, error) {
	invitations, err := p.invite(ctx, addresses("edge", n))
	if err != nil {
		return nil, err
	}
	owners := make([]callback, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i, inv := range invitations {
		group.Go(func() (err error) {
			owners[i], err = start(ctx, client, base, p.ids.Link(inv.ID, 1))
			return err
		})
	}
	return owners, group.Wait()
}

// accepted is the figure of callbacks that took so long.
func (o options) accepted(took []time.Duration) figure {
	slices.Sort(took)
	p99 := ms(percentile(took, 0.99))
	return atMost(figure{
		name:  fmt.Sprintf("edge, accepted and durable, %d/s, sync always, p99", o.edgeRate),
		value: fmt.Sprintf("p50 %.1f ms, p99 %.1f ms (%d callbacks)", ms(percentile(took, 0.5)), p99, len(took)), against: "–",
	}, p99, 20, "%.0f ms")
}

// browser is a client that follows no redirect, for many connections at once.
func browser() *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// start presses the link's button and takes what the browser would take to Microsoft and back.
func start(ctx context.Context, client *http.Client, base, link string) (callback, error) {
	resp, err := visit(ctx, client, http.MethodPost, base+"/c/"+link+"/start", nil)
	if err != nil {
		return callback{}, err
	}
	to, err := url.Parse(resp.to)
	if err != nil || resp.status != http.StatusSeeOther || len(resp.cookies) != 1 {
		return callback{}, fmt.Errorf("start: status %d with %d cookies: %w", resp.status, len(resp.cookies), err)
	}
	return callback{state: to.Query().Get("state"), cookie: resp.cookies[0]}, nil
}

// fire sends the callbacks by the clock and returns how long each took.
func (o options) fire(ctx context.Context, client *http.Client, base string, owners []callback) ([]time.Duration, error) {
	took := make([]time.Duration, len(owners))
	var mu sync.Mutex
	var failed error // the first one
	var failures int
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(o.edgeRate))
	defer tick.Stop()
	for i, owner := range owners {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		wg.Go(func() {
			began := time.Now()
			query := url.Values{"code": {fmt.Sprintf("bench-code-%d-%s", i, strings.Repeat("x", 900))}, "state": {owner.state}}
			resp, err := visit(ctx, client, http.MethodGet, base+"/oauth-callback/main?"+query.Encode(), owner.cookie)
			took[i] = time.Since(began)
			if err == nil && resp.status != http.StatusSeeOther {
				err = fmt.Errorf("callback: status %d", resp.status)
			}
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if failures++; failed == nil {
				failed = err
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, fmt.Errorf("%d of %d callbacks were not accepted; the first: %w", failures, len(owners), failed)
	}
	return took, nil
}

// visited is what a browser keeps of an answer.
type visited struct {
	status  int
	to      string
	cookies []*http.Cookie
}

func visit(ctx context.Context, client *http.Client, method, address string, cookie *http.Cookie) (visited, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return visited{}, fmt.Errorf("visit the edge: %w", err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if cookie != nil {
		req.AddCookie(cookie)
	}
	resp, err := client.Do(req)
	if err != nil {
		return visited{}, fmt.Errorf("visit the edge: %w", err)
	}
	return visited{status: resp.StatusCode, to: resp.Header.Get("Location"), cookies: resp.Cookies()}, resp.Body.Close()
}
