package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"kindling/internal/app"
	"kindling/internal/config"
)

// certificateLeft is how long the public certificate should still live: a link lives a week by default.
const certificateLeft = 14 * 24 * time.Hour

// madeUpLink is the path of a link that nobody was given. Looking at it has no effect.
const madeUpLink = "/c/kindling-doctor-has-no-link"

// edge looks at the public address, and whether the edge answers there as owners and Microsoft will meet it.
func (d Doctor) edge(ctx context.Context, cfg config.Config) []Finding {
	r := &report{area: areaEdge}
	public, err := url.Parse(cfg.Edge.PublicURL)
	switch {
	case cfg.Edge.PublicURL == "" || err != nil:
		r.skip("", "edge.public_url is not set for "+d.Process)
		return r.list
	case loopback(public.Hostname()):
		r.warn(cfg.Edge.PublicURL, "only this machine can open links to this address", "write the address under which owners reach the edge")
	default:
		r.ok(cfg.Edge.PublicURL, "is an address that owners can be sent to")
	}
	switch {
	case d.Pre:
		r.skip(public.Host, "whether the edge answers was left out by --pre")
	case d.resolves(ctx, r, public):
		d.live(ctx, r, cfg)
	default:
		r.skip(public.Host, "the edge was not asked, because its name does not resolve")
	}
	return r.list
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// resolves reports whether the public name has an address, as far as this machine can know.
func (d Doctor) resolves(ctx context.Context, r *report, public *url.URL) bool {
	if _, err := netip.ParseAddr(public.Hostname()); err == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, public.Hostname())
	if err != nil || len(found) == 0 {
		r.away(public.Hostname(), "the name does not resolve from here", "add it to the DNS; owners' browsers and this machine must find it")
		return false
	}
	r.ok(public.Hostname(), "resolves to "+strings.Join(found, ", "))
	return true
}

// live asks the edge for a link that does not exist, then each app's callback for nothing. Neither has an effect.
func (d Doctor) live(ctx context.Context, r *report, cfg config.Config) {
	v := d.visit(ctx, cfg.Edge.PublicURL+madeUpLink)
	if !v.ours(r, cfg.Edge.PublicURL, http.StatusNotFound) {
		for _, a := range cfg.Apps {
			r.skip(a.RedirectURI, "not asked, because the edge does not answer as it should")
		}
		return
	}
	r.ok(cfg.Edge.PublicURL, "the edge answers")
	if left := v.expires.Sub(d.Now()); !v.expires.IsZero() && left < certificateLeft {
		r.warn(cfg.Edge.PublicURL, fmt.Sprintf("the certificate ends in %d days", max(0, int(left.Hours()/24))), "renew it, and see why it does not renew itself")
	}
	for _, a := range cfg.Apps {
		d.callback(ctx, r, a)
	}
}

// callback looks whether the edge expects the app's owners back at its redirect URI, and lets its pages lead to the app's login.
func (d Doctor) callback(ctx context.Context, r *report, a config.App) {
	v := d.visit(ctx, a.RedirectURI)
	if v.status == http.StatusNotFound && v.marked() {
		r.wrong(a.RedirectURI, "the edge does not know the app "+a.Name, "give the edge the same apps as this configuration, and restart it")
		return
	}
	if !v.ours(r, a.RedirectURI, http.StatusBadRequest) {
		return
	}
	known, err := app.MicrosoftApp(a)
	if err == nil && a.Issuer == "" && !strings.Contains(v.policy, " "+strings.TrimSuffix(known.LoginURL, "/")) {
		r.wrong(a.RedirectURI, "the edge's pages do not lead to the login of the app "+a.Name, "give the edge the same cloud for it as this configuration, and restart it")
		return
	}
	r.ok(a.RedirectURI, "the edge expects owners of the app "+a.Name+" back here")
}

// visited is what came of one GET.
type visited struct {
	err     error
	status  int
	policy  string // of the page
	expires time.Time
}

// visit asks for an address, and follows no redirect. The body is not looked at.
func (d Doctor) visit(ctx context.Context, address string) visited {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	transport := d.Transport
	if transport == nil {
		own := &http.Transport{Proxy: nil, DisableKeepAlives: true, ForceAttemptHTTP2: true}
		defer own.CloseIdleConnections()
		transport = own
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return visited{err: err}
	}
	resp, err := client.Do(req)
	if err != nil {
		return visited{err: err}
	}
	defer resp.Body.Close()                        //nolint:errcheck // it was only read
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection ends in order
	v := visited{status: resp.StatusCode, policy: resp.Header.Get("Content-Security-Policy")}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		v.expires = resp.TLS.PeerCertificates[0].NotAfter
	}
	return v
}

// marked reports whether the page has what every page of the edge has: a policy in which forms lead to Microsoft alone.
func (v visited) marked() bool {
	return strings.Contains(v.policy, "form-action 'self'") && strings.Contains(v.policy, "frame-ancestors 'none'")
}

// ours reports everything but the edge's own answer with this status.
func (v visited) ours(r *report, subject string, status int) bool {
	const proxy = "look at the proxy before the edge: it must pass every path on, with the Host and the headers as they are"
	switch {
	case v.err != nil:
		v.broken(r, subject)
	case v.status == status && v.marked():
		return true
	case v.status == http.StatusMisdirectedRequest && v.marked():
		r.wrong(subject, "the edge answers, but is asked for another host than edge.public_url", proxy)
	case v.status == http.StatusTooManyRequests:
		r.away(subject, "too many requests from here; the edge was not seen", "run this again in a minute")
	case v.status == http.StatusServiceUnavailable && v.marked():
		r.away(subject, "the edge answers, but cannot reach its store", "look at the edge's log and at NATS")
	case v.status >= http.StatusInternalServerError:
		r.away(subject, fmt.Sprintf("something answers %d there: a proxy without the edge behind it", v.status), "start callback-ingest (or kindling up), and let the proxy lead to edge.listen")
	case v.status >= http.StatusMultipleChoices && v.status < http.StatusBadRequest:
		r.wrong(subject, fmt.Sprintf("answers with a redirect (%d): owners and Microsoft's answers would end elsewhere", v.status), "set edge.public_url to the address that does not redirect")
	case v.status == status:
		r.wrong(subject, "what answers lacks the edge's Content-Security-Policy: another program, or a proxy that takes headers away", proxy)
	default:
		r.wrong(subject, fmt.Sprintf("what answers (%d) is not the edge", v.status), proxy)
	}
	return false
}

// broken words why no answer came.
func (v visited) broken(r *report, subject string) {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var timeout net.Error
	switch {
	case errors.As(v.err, &invalid) && invalid.Reason == x509.Expired:
		r.wrong(subject, "the certificate has expired, or the clock is wrong", "renew the certificate")
	case errors.As(v.err, &name):
		r.wrong(subject, "the certificate is one of another name", "give the proxy a certificate for the name in edge.public_url")
	case errors.As(v.err, &unknown), errors.As(v.err, &invalid):
		r.wrong(subject, "the certificate is not trusted here, so browsers may refuse it, too", "serve the whole chain of a public certificate authority")
	case errors.As(v.err, &timeout) && timeout.Timeout():
		r.away(subject, "no answer came in time", "open the firewall; if owners reach it and this machine cannot, look from outside")
	default:
		r.away(subject, "no connection could be made from here", "start callback-ingest (or kindling up) and whatever stands before it, or use --pre until it runs")
	}
}
