package callback

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestTheLimiterForgetsTheNetworksItHeardOfLongestAgo(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	l := newLimiter(0.001, 1, func() time.Time { return now })
	network := func(i uint32) netip.Prefix {
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], i)
		return netip.PrefixFrom(netip.AddrFrom4(raw), 32)
	}
	for i := range uint32(maxNetworks) {
		if wait := l.take(network(i)); wait != 0 {
			t.Fatalf("network %d has to wait %s for its first token", i, wait)
		}
	}
	if l.take(network(0)) == 0 {
		t.Error("a known network got a second token")
	}
	l.take(network(maxNetworks)) // pushes out network 1, since 0 was just heard of
	if l.take(network(0)) == 0 || l.take(network(1)) != 0 {
		t.Error("the wrong network was forgotten")
	}
	if len(l.buckets) != maxNetworks || l.recent.Len() != maxNetworks {
		t.Errorf("%d networks are remembered", len(l.buckets))
	}
}
