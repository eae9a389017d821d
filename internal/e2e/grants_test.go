//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/sandbox"
	"kindling/internal/seal"
	"kindling/internal/secret"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
)

// redeems is a world of token-workers alone: NATS, the simulated Microsoft with single-use codes and revocation on a
// replay, and codes that the test publishes as the edge does.
type redeems struct {
	*fleet

	natsURL string
	bus     *bus.Bus
	js      jetstream.JetStream
	people  *seal.Box
	ids     *seal.IDs
	codes   *seal.Sealer
	seen    *grantView
}

// startRedeems starts the world, with workers as many as asked for.
func startRedeems(t *testing.T, bin string, workers int) *redeems {
	t.Helper()
	f := &fleet{bin: bin, data: app.Data(t.TempDir())}
	if err := f.data.Prepare(); err != nil {
		t.Fatal(err)
	}
	settings := sandbox.Settings{
		Data: f.data, NATSURL: f.startNATS(t), EdgeListen: freeAddress(t), PublicURL: "http://" + freeAddress(t), ConsoleListen: freeAddress(t),
		CallsPerMinute: 6000, ReconcileAfter: 2 * time.Second, RetryBase: 250 * time.Millisecond, HoldFor: 3 * time.Second,
	}
	f.startSimulator(t, settings.RedirectURI())
	settings.MicrosoftURL, settings.WarmyURL = f.world.Microsoft, f.world.Warmy
	if err := settings.Write(); err != nil {
		t.Fatal(err)
	}
	f.config = settings.File()
	r := &redeems{fleet: f, natsURL: settings.NATSURL, bus: connect(t, settings.NATSURL), seen: &grantView{grants: map[mailbox.ID]mailbox.Grant{}}}
	r.open(t)
	play(t, f.world.Microsoft, trouble.Control{Switches: json.RawMessage(`{"revoke_on_replay":true}`)})
	t.Cleanup(func() { f.report(t) })
	for range workers {
		r.worker(t)
	}
	return r
}

func (r *redeems) open(t *testing.T) {
	t.Helper()
	keys := r.data.Keys()
	var err error
	if r.people, err = seal.OpenPeople(keys); err == nil {
		r.ids, err = seal.OpenIDs(keys)
	}
	if err == nil {
		r.codes, err = seal.OpenCodesPublic(keys)
	}
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(r.natsURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if r.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	r.follow(t, r.seen)
}

// follow tells sink of all facts until the test ends.
func (r *redeems) follow(t *testing.T, sink bus.Sink) {
	t.Helper()
	following, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.bus.Facts(r.people).Follow(following, sink) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("follow the facts: %v", err)
		}
	})
}

func (r *redeems) worker(t *testing.T) *process {
	t.Helper()
	r.product(t, "token-worker", "KINDLING_METRICS_LISTEN="+freeAddress(t))
	return r.products[len(r.products)-1]
}

const (
	codeVerifier = "e2e-verifier-e2e-verifier-e2e-verifier-e2e-0"
	codeNonce    = "e2e-nonce"
)

// consents invites owners and returns the event of each one's code, sealed as the edge seals it.
func (r *redeems) consents(t *testing.T, addresses []string) []events.Event {
	t.Helper()
	invitations := make([]mailbox.Invitation, len(addresses))
	now := time.Now()
	for i, address := range addresses {
		id := r.ids.Mailbox("main", address)
		invitations[i] = mailbox.Invitation{
			ID: id, Campaign: "e2e", App: "main", Account: "main", Address: address, FromName: "Owner", TariffPlanTypeID: 41, SpeedMode: "fast",
			LinkGeneration: 1, LinkHash: mailbox.Hash(r.ids.Link(id, 1)), InvitedAt: now, LinkExpiresAt: now.Add(time.Hour),
		}
	}
	for chunk := range slices.Chunk(invitations, 500) {
		if _, err := r.bus.InvitationStore(r.people).Create(t.Context(), chunk); err != nil {
			t.Fatal(err)
		}
	}
	redirect := r.redirect()
	all := make([]events.Event, len(addresses))
	for i, code := range r.issue(t, addresses, redirect) {
		all[i] = r.event(t, invitations[i].ID, code, redirect)
	}
	return all
}

// redirect is the app's redirect URI, as the simulator was told.
func (r *redeems) redirect() string {
	return r.simulator.args[slices.Index(r.simulator.args, "--redirect-uri")+1]
}

func (r *redeems) issue(t *testing.T, addresses []string, redirect string) []string {
	t.Helper()
	sum := sha256.Sum256([]byte(codeVerifier))
	body, err := json.Marshal(msid.NewCode{
		ClientID: sandbox.ClientID, Tenant: "organizations", RedirectURI: redirect, Nonce: codeNonce, Addresses: addresses,
		Scope: "openid profile email offline_access User.Read Mail.Send Mail.ReadWrite Mail.Read", Challenge: base64.RawURLEncoding.EncodeToString(sum[:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Codes []string `json:"codes"`
	}
	if err := request(t, http.MethodPost, r.world.Microsoft+"/_sim/codes", "application/json", "", body, &answer); err != nil || len(answer.Codes) != len(addresses) {
		t.Fatalf("%d codes for %d addresses: %v", len(answer.Codes), len(addresses), err)
	}
	return answer.Codes
}

func (r *redeems) event(t *testing.T, id mailbox.ID, code, redirect string) events.Event {
	t.Helper()
	plain, err := mailbox.Consent{
		Code: secret.New(code), Verifier: secret.New(codeVerifier), Nonce: secret.New(codeNonce), Tenant: "organizations", RedirectURI: redirect,
	}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e := events.New(events.CodeReceived, mailbox.CodeSeed(id, "e2e", mailbox.Hash(code)), now)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt, e.Deadline = id, "main", "main", "e2e", "e2e", now.Add(mailbox.CodeLife)
	if e.Sealed, err = r.codes.Seal(plain, mailbox.SealedCodeContext(id, "e2e")); err != nil {
		t.Fatal(err)
	}
	return e
}

// again publishes an event under an id that no stream has seen.
func (r *redeems) again(t *testing.T, e events.Event, copies string) {
	t.Helper()
	data, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg(e.Subject())
	msg.Data = data
	if _, err := r.js.PublishMsg(t.Context(), msg, jetstream.WithMsgID(e.ID+copies)); err != nil {
		t.Fatal(err)
	}
}

// waiting counts what the code lane has to do.
func (r *redeems) waiting(t *testing.T) uint64 {
	t.Helper()
	return r.inStream(t, "CODE") + r.inStream(t, "REFRESH") + r.inStream(t, "TIMERS_TOKEN")
}

func (r *redeems) inStream(t *testing.T, name string) uint64 {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// ended waits until every mailbox's grant has come to an end and nothing is left to do.
func (r *redeems) ended(t *testing.T, within time.Duration, all []events.Event) {
	t.Helper()
	eventually(t, within, "every code has come to an end", func() bool {
		for _, e := range all {
			if p := r.seen.grant(e.Mailbox).Phase; p == mailbox.GrantNone || p == mailbox.GrantRedeeming {
				return false
			}
		}
		return r.waiting(t) == 0
	})
}

// sent is what Microsoft knows of the codes, by address.
func (r *redeems) sent(t *testing.T) map[string]msid.Code {
	t.Helper()
	_, codes, _ := r.ledgers(t)
	all := make(map[string]msid.Code, len(codes))
	for _, c := range codes {
		all[c.Address] = c
	}
	return all
}

// checkSaved holds what must be true of saved tokens: they are alive, and their code was not sent any more.
func checkSaved(t *testing.T, g mailbox.Grant, c msid.Code) {
	t.Helper()
	if g.Tokens == nil || c.RevokedByReplay || c.TokensIssued != 1 {
		t.Errorf("the saved grant of %s was revoked: %t; tokens issued %d times", c.Address, c.RevokedByReplay, c.TokensIssued)
		return
	}
	for i, s := range c.Sends {
		if s.At.After(g.Tokens.SavedAt) {
			t.Errorf("send %d of the code of %s came %v after its tokens were saved", i+1, c.Address, s.At.Sub(g.Tokens.SavedAt))
		}
	}
}

// grantView is the grants as they are stored.
type grantView struct {
	mu     sync.Mutex
	grants map[mailbox.ID]mailbox.Grant
	broken []string
}

func (*grantView) Campaign(mailbox.Campaign)                     {}
func (*grantView) Invitation(mailbox.Invitation)                 {}
func (*grantView) Claim(mailbox.ID, mailbox.Claim)               {}
func (*grantView) Registration(mailbox.ID, mailbox.Registration) {}
func (*grantView) AdminConsent(mailbox.AdminConsent)             {}
func (*grantView) CaughtUp()                                     {}

// Grant keeps the latest word, and notes tokens that were saved a second time.
func (v *grantView) Grant(id mailbox.ID, g mailbox.Grant) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old := v.grants[id]; old.Tokens != nil && (g.Tokens == nil || !g.Tokens.SavedAt.Equal(old.Tokens.SavedAt)) {
		v.broken = append(v.broken, fmt.Sprintf("%s: saved tokens were replaced or lost", id))
	}
	v.grants[id] = g
}

func (v *grantView) grant(id mailbox.ID) mailbox.Grant {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.grants[id]
}

func (v *grantView) breaches() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.broken)
}
