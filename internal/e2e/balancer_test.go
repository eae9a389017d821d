//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// balancer stands before several edges as an operator's load balancer does: it takes turns, and asks the next one when
// a connection is refused. It never repeats a request that may have arrived.
func balancer(t *testing.T, targets ...string) *httptest.Server {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 20 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	var turn atomic.Uint64
	proxy := &httputil.ReverseProxy{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			var err error
			for range targets {
				out := r.Clone(r.Context())
				out.URL.Host = targets[turn.Add(1)%uint64(len(targets))]
				var resp *http.Response
				if resp, err = transport.RoundTrip(out); err == nil {
					return resp, nil
				}
				if r.Method != http.MethodGet {
					break
				}
			}
			return nil, err
		}),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: targets[0]})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
