package callback

import (
	"container/list"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxNetworks bounds the memory of the limiter (some 200 bytes each). A flood from more networks than that pushes
// out the oldest, which then start afresh.
const maxNetworks = 16384

// limiter gives every client network its own token bucket.
type limiter struct {
	perSecond rate.Limit
	burst     int
	now       func() time.Time

	mu      sync.Mutex
	buckets map[netip.Prefix]*list.Element
	recent  *list.List // of *bucket, the latest first
}

type bucket struct {
	network netip.Prefix
	tokens  *rate.Limiter
}

func newLimiter(perSecond float64, burst int, now func() time.Time) *limiter {
	return &limiter{
		perSecond: rate.Limit(perSecond), burst: burst, now: now,
		buckets: make(map[netip.Prefix]*list.Element), recent: list.New(),
	}
}

// take takes a token of the network's bucket, and returns 0; or returns how long to wait for one.
func (l *limiter) take(network netip.Prefix) time.Duration {
	tokens, now := l.bucketOf(network), l.now()
	reservation := tokens.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *limiter) bucketOf(network netip.Prefix) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.buckets[network]; ok {
		l.recent.MoveToFront(known)
		b, _ := known.Value.(*bucket)
		return b.tokens
	}
	if l.recent.Len() >= maxNetworks {
		oldest, _ := l.recent.Remove(l.recent.Back()).(*bucket)
		delete(l.buckets, oldest.network)
	}
	b := &bucket{network: network, tokens: rate.NewLimiter(l.perSecond, l.burst)}
	l.buckets[network] = l.recent.PushFront(b)
	return b.tokens
}

// clientNetwork returns the network that a request comes from: an IPv4 address, or an IPv6 /56, which is what one
// customer of a provider holds. X-Forwarded-For is read from the right, as far as trusted proxies wrote it.
func clientNetwork(r *http.Request, trusted []netip.Prefix) netip.Prefix {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	client := remote.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil || !contains(trusted, client) {
			break
		}
		client = addr.Unmap()
	}
	bits := 32
	if client.Is6() {
		bits = 56
	}
	network, err := client.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
