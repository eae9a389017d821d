package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
)

// The server's answers to what the streams' settings forbid.
const (
	tooLarge     jetstream.ErrorCode = 10054
	noRollup     jetstream.ErrorCode = 10111
	noTTL        jetstream.ErrorCode = 10166
	purgeRefused jetstream.ErrorCode = 10110
)

// What the streams' settings refuse whoever asks for it. "publish by wrong role", and what a purge, a deletion or a
// roll-up may do where the settings must allow it (timers need roll-ups, work queues their acknowledgements), is up to
// the users' rights: see the tests of deployments/nats/users.conf.
func TestTheServerRefuses(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b := bustest.Connect(t, s)
	p := newProducer(t, s)
	subjects := map[string]string{ // one of every stream
		"CODE": "kindling.code.main.mb1", "REFRESH": "kindling.refresh.main.mb1", "REGISTER": "kindling.register.main.s1.mb1",
		"TIMERS_TOKEN": "kindling.due.refresh.main.mb1.id", "TIMERS_WARMY": "kindling.due.register.main.mb1.id",
		"AUDIT": "kindling.audit.operator", "KV_campaigns": "$KV.campaigns.c", "KV_mailboxes": "$KV.mailboxes.mb1",
		"KV_claims": "$KV.claims.mb1", "KV_grants": "$KV.grants.mb1", "KV_registrations": "$KV.registrations.mb1", "KV_identities": "$KV.identities.main.x", "KV_control": "$KV.control.leg.x.y",
		"KV_tenants": "$KV.tenants.main.x",
	}
	large := strings.Repeat("x", 65<<10)
	for stream, subject := range subjects {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			p.send(t, subject, "first")
			denies(t, "65 KB", tooLarge, p.try(t.Context(), subject, large))
			denies(t, "TTL header", noTTL, p.try(t.Context(), subject, "x", "Nats-TTL", "1s"))
			if !strings.HasPrefix(stream, "TIMERS") {
				denies(t, "Nats-Rollup: all", noRollup, p.try(t.Context(), subject, "x", "Nats-Rollup", "all"))
				denies(t, "Nats-Rollup: sub", noRollup, p.try(t.Context(), subject, "x", "Nats-Rollup", "sub"))
			}
			if strings.HasPrefix(stream, "KV_") || stream == "AUDIT" {
				denies(t, "purge call", purgeRefused, p.purge(t.Context(), stream))
			}
			if stream == "AUDIT" {
				if err := p.remove(t.Context(), stream, 1); !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
					t.Errorf("delete call: %v", err)
				}
				if n, err := bus.Waiting(t.Context(), b, stream); err != nil || n != 1 {
					t.Errorf("%d entries left, %v", n, err)
				}
			}
		})
	}
	t.Run("DEAD", func(t *testing.T) {
		t.Parallel()
		denies(t, "130 KB", tooLarge, p.try(t.Context(), "kindling.dead.code.permanent.mb1", large+large))
		denies(t, "Nats-Rollup: all", noRollup, p.try(t.Context(), "kindling.dead.code.permanent.mb1", "x", "Nats-Rollup", "all"))
		denies(t, "TTL header", noTTL, p.try(t.Context(), "kindling.dead.code.permanent.mb1", "x", "Nats-TTL", "1s"))
	})
}

func denies(t *testing.T, what string, code jetstream.ErrorCode, err error) {
	t.Helper()
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || api.ErrorCode != code {
		t.Errorf("%s: %v, want the server's error %d", what, err, code)
	}
}

func (p *producer) purge(ctx context.Context, name string) error {
	stream, err := p.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	return stream.Purge(ctx)
}

func (p *producer) remove(ctx context.Context, name string, seq uint64) error {
	stream, err := p.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	return stream.DeleteMsg(ctx, seq)
}
