package callback_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kindling/internal/callback"
)

func TestAFloodIsSlowedDownAndTouchesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example", func(c *callback.Config) { c.PerSecond, c.Burst = 1, 3 })
	a := r.press()
	before := r.claims.get(mailboxID)
	for range 2 {
		r.get(callPath + "?code=a&state=" + strings.Repeat("A", 43))
	}
	for range 5 {
		answer := r.come(a, withCode(code))
		if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") != "1" {
			t.Errorf("%d, Retry-After %q", answer.StatusCode, answer.Header.Get("Retry-After"))
		}
		r.untouched("flood", before, 0, bodyOf(t, answer))
	}
	if answer := r.get("/c/" + link); answer.StatusCode != http.StatusOK {
		t.Errorf("looking at the page is limited too: %d", answer.StatusCode)
	}
	other := r.request(http.MethodPost, "/c/"+link+"/start", "")
	other.RemoteAddr = "198.51.100.7:1234"
	if answer := r.do(other); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("another network gets %d", answer.StatusCode)
	}
	r.pass(time.Second)
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("a second later: %d", answer.StatusCode)
	}
}

func TestTheClientBehindATrustedProxyIsTheOneThatIsLimited(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, remote    string
		forwarded, then []string // X-Forwarded-For of two requests
		shared          bool     // both fall into one bucket
	}{
		{"trusted proxy, two clients", "10.0.0.1:1", []string{"192.0.2.1"}, []string{"192.0.2.2"}, false},
		{"trusted proxy, one client", "10.0.0.1:1", []string{"192.0.2.1"}, []string{"192.0.2.1"}, true},
		{"a client invents hops before itself", "10.0.0.1:1", []string{"1.1.1.1, 192.0.2.1"}, []string{"2.2.2.2, 192.0.2.1"}, true},
		{"two trusted hops", "10.0.0.1:1", []string{"192.0.2.1, 10.0.0.2"}, []string{"192.0.2.2, 10.0.0.2"}, false},
		{"two header lines", "10.0.0.1:1", []string{"192.0.2.1", "10.0.0.2"}, []string{"192.0.2.2", "10.0.0.2"}, false},
		{"no proxy", "192.0.2.9:1", []string{"192.0.2.1"}, []string{"192.0.2.2"}, true},
		{"garbage", "10.0.0.1:1", []string{"192.0.2.1, zzz"}, []string{"192.0.2.2, zzz"}, true},
		{"IPv6, one customer", "10.0.0.1:1", []string{"2001:db8:0:1::1"}, []string{"2001:db8:0:2::2"}, true},
		{"IPv6, two customers", "10.0.0.1:1", []string{"2001:db8:0:100::1"}, []string{"2001:db8:0:200::1"}, false},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1", []string{"192.0.2.1"}, []string{"::ffff:192.0.2.1"}, true},
		{"no address", "pipe", nil, nil, true},
	} {
		r := newRig(t, "https://connect.example", func(c *callback.Config) {
			c.PerSecond, c.Burst, c.TrustedProxies = 1, 1, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		var last int
		for _, hops := range [][]string{tc.forwarded, tc.then} {
			req := r.request(http.MethodPost, "/c/"+link+"/start", "")
			req.RemoteAddr = tc.remote
			req.Header["X-Forwarded-For"] = hops
			last = r.do(req).StatusCode
		}
		if shared := last == http.StatusTooManyRequests; shared != tc.shared {
			t.Errorf("%s: the second request gets %d", tc.name, last)
		}
	}
}
