package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	monitorTimeout = 5 * time.Second
	// monitorAnswer bounds what is read of a monitoring address.
	monitorAnswer = 1 << 20
	// leastConsumers is what one app and one account need: a consumer for each lane and its timers, and those that read
	// the facts.
	leastConsumers = 12
)

// Inspect looks at what the server says of itself: whether its disk has what it acknowledges, and whether the account has
// room for the streams. It changes nothing. What cannot be seen is a note.
func (b *Bus) Inspect(ctx context.Context) ([]Finding, error) {
	info, err := b.js.AccountInfo(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask JetStream for its account: %w: %w", ErrUnavailable, err)
	}
	return append(b.inspectSync(ctx), b.inspectLimits(info)...), nil
}

// ServerVersion is the version of the server that this process is connected to.
func (b *Bus) ServerVersion() string { return b.nc.ConnectedServerVersion() }

const unsyncedRemedy = "write sync_interval: always into the server's jetstream section and restart it; nats.allow_unsynced: true works all the same, " +
	"for mailboxes that nobody misses"

func (b *Bus) inspectSync(ctx context.Context) []Finding {
	if own, ok := b.cfg.InProcess.(interface{ SyncAlways() bool }); ok {
		return b.synced("the embedded server", own.SyncAlways(), "when it finds time")
	}
	if b.cfg.Monitor == "" {
		return []Finding{{Note, "whether the server's disk has what it acknowledges cannot be seen", "name its monitoring address in nats.monitoring_url"}}
	}
	var found []Finding
	for address := range strings.SplitSeq(b.cfg.Monitor, ",") {
		found = append(found, b.inspectServer(ctx, strings.TrimSpace(address))...)
	}
	return found
}

func (b *Bus) synced(which string, always bool, interval string) []Finding {
	switch what := which + " acknowledges before its disk has the message, and syncs " + interval; {
	case always:
		return nil
	case b.cfg.Unsynced:
		return []Finding{{Tolerated, what + ": acknowledged tokens may be lost when the power fails", "allowed by nats.allow_unsynced"}}
	default:
		return []Finding{{Unsafe, what + ": acknowledged tokens may be lost when the power fails", unsyncedRemedy}}
	}
}

// varz is what is read of a server's monitoring page of this name.
type varz struct {
	ServerID   string `json:"server_id"`
	ServerName string `json:"server_name"`
	Cluster    struct {
		Name string `json:"name"`
	} `json:"cluster"`
	JetStream struct {
		Config *struct {
			SyncAlways   bool          `json:"sync_always"`
			SyncInterval time.Duration `json:"sync_interval"`
		} `json:"config"`
	} `json:"jetstream"`
}

// inspectServer asks one monitoring address. An address that does not answer proves nothing: a server of a cluster may
// be down.
func (b *Bus) inspectServer(ctx context.Context, address string) []Finding {
	v, err := b.varz(ctx, address)
	switch {
	case err != nil:
		return []Finding{{Tolerated, fmt.Sprintf("whether writes are synced cannot be seen at %s: %v", address, err), "check nats.monitoring_url"}}
	case v.Cluster.Name == "" && v.ServerID != b.nc.ConnectedServerId():
		return []Finding{{Tolerated, fmt.Sprintf("%s is not the server at nats.url but %s", address, v.ServerName), "check nats.monitoring_url"}}
	case v.JetStream.Config == nil:
		return []Finding{{Tolerated, fmt.Sprintf("the server %s has no JetStream", v.ServerName), "look into its log: it gives JetStream up when its disk fails"}}
	}
	return b.synced("the server "+v.ServerName, v.JetStream.Config.SyncAlways, "every "+v.JetStream.Config.SyncInterval.String())
}

func (b *Bus) varz(ctx context.Context, address string) (varz, error) {
	secure, err := b.cfg.tls()
	if err != nil {
		return varz{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, monitorTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+"/varz", http.NoBody)
	if err != nil {
		return varz{}, err
	}
	transport := &http.Transport{TLSClientConfig: secure, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(req)
	if err != nil {
		return varz{}, err
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	if answer.StatusCode != http.StatusOK {
		return varz{}, fmt.Errorf("it answers %d", answer.StatusCode)
	}
	var v varz
	if err := json.NewDecoder(io.LimitReader(answer.Body, monitorAnswer)).Decode(&v); err != nil || v.ServerID == "" {
		return varz{}, errors.New("its answer is not a NATS server's")
	}
	return v, nil
}

// inspectLimits warns of an account in which the streams cannot grow to what they may hold.
func (b *Bus) inspectLimits(info *jetstream.AccountInfo) []Finding {
	limits, copies := info.Limits, int64(b.replicas)
	if tier, ok := info.Tiers[fmt.Sprintf("R%d", b.replicas)]; ok {
		limits, copies = tier.Limits, 1 // a tier counts each message once
	}
	var need, largest int64
	streams := b.streams()
	for _, s := range streams {
		need, largest = need+copies*s.MaxBytes, max(largest, s.MaxBytes)
	}
	var found []Finding
	tell := func(limit, need int64, what string) {
		if limit > 0 && limit < need {
			found = append(found, Finding{Tolerated, what, "raise the limits of the NATS account"})
		}
	}
	tell(limits.MaxStore, need, fmt.Sprintf("the NATS account may store %s in files, and Kindling's streams may take %s", size(limits.MaxStore), size(need)))
	tell(limits.StoreMaxStreamBytes, largest, fmt.Sprintf("the NATS account allows streams of %s, and Kindling's largest may take %s", size(limits.StoreMaxStreamBytes), size(largest)))
	tell(int64(limits.MaxStreams), int64(len(streams)), fmt.Sprintf("the NATS account may have %d streams, and Kindling has %d", limits.MaxStreams, len(streams)))
	tell(int64(limits.MaxConsumers), leastConsumers, fmt.Sprintf("the NATS account may have %d consumers, and Kindling needs at least %d", limits.MaxConsumers, leastConsumers))
	return found
}
