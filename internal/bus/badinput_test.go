package bus_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/seal"
	"kindling/internal/secret"
)

// The tests of the files badinput*_test.go hold what happens to everything that a broken producer can write, by what
// becomes of it:
//
//	TestWhatIsNoEventIsQuarantined, TestWhatDoesNotOpenIsQuarantined,
//	TestABrokenDeadLetterIsNeverReplayed                  quarantined, never a crash
//	TestAReadableSecretIsErasedWithAnAlarm                a security alarm and a secure delete
//	TestTheServerRefuses                                  refused by the server's settings
//	TestWhatIsOverHasNoEffect                             acknowledged, no effect
//	TestWhatMustWaitIsGivenBack                           given back with a delay
//	TestWhatGoesWrongOnTheWayIsHandled                    handled
//
// Each sub-test is one kind of bad input. Where another test has it already, a comment in the table names it.

// producer writes to the streams past everything that our own publisher sees to.
type producer struct {
	js jetstream.JetStream
}

func newProducer(t *testing.T, s *embed.Server) *producer {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &producer{js: js}
}

// try publishes and returns the server's answer. Headers are names and values in turn.
func (p *producer) try(ctx context.Context, subject, payload string, headers ...string) error {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(payload)
	for i := 0; i+1 < len(headers); i += 2 {
		msg.Header[headers[i]] = []string{headers[i+1]}
	}
	_, err := p.js.PublishMsg(ctx, msg)
	return err
}

func (p *producer) send(t *testing.T, subject, payload string, headers ...string) {
	t.Helper()
	if err := p.try(t.Context(), subject, payload, headers...); err != nil {
		t.Fatalf("publish to %s: %v", subject, err)
	}
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// outcomes counts what became of deliveries.
type outcomes struct {
	mu sync.Mutex
	n  map[string]int
}

func (o *outcomes) Delivered(_ events.Lane, outcome string, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == nil {
		o.n = make(map[string]int)
	}
	o.n[outcome]++
}

func (o *outcomes) of(outcome string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n[outcome]
}

// outside is Microsoft and Warmy. They do what they are asked, and count.
type outside struct{ redeemed, posted atomic.Int32 }

func (o *outside) Redeem(context.Context, string, mailbox.Consent) (mailbox.Tokens, error) {
	o.redeemed.Add(1)
	return tokens(), nil
}

func (o *outside) Refresh(context.Context, string, mailbox.Tokens) (mailbox.Tokens, error) {
	return tokens(), nil
}

func (o *outside) Prove(_ context.Context, _ string, _ mailbox.Tokens, address string) (events.Proof, error) {
	return proofOf(address), nil
}

func (o *outside) Create(ctx context.Context, _ string, m handlers.NewMailbox) (string, error) {
	if err := m.Intend(ctx); err != nil {
		return "", err
	}
	o.posted.Add(1)
	return "4711", nil
}

func (o *outside) Credentials(string) (string, secret.Text, error) {
	return "client", secret.New("client secret"), nil
}

func tokens() mailbox.Tokens {
	return mailbox.Tokens{
		Access: secret.New("access"), Refresh: secret.New("refresh"), Expiry: time.Now().Add(time.Hour), Attempt: "att", SavedAt: time.Now(),
	}
}

func addressOf(id string) string { return id + "@example.com" }

// proofOf is who consents for a mailbox: somebody else for each.
func proofOf(address string) events.Proof {
	return events.Proof{
		TenantID: "11111111-2222-3333-4444-555555555555",
		ObjectID: fmt.Sprintf("66666666-7777-8888-9999-%012x", crc32.ChecksumIEEE([]byte(address))),
	}
}

// plant is one store with both workers on it, as they run in earnest but for Microsoft and Warmy.
type plant struct {
	*producer
	*bus.Bus
	outside

	dir      string
	log      lines
	counted  outcomes
	sealer   *seal.Sealer
	opener   *seal.Opener
	grants   *seal.Box
	people   *seal.Box
	policy   bus.Policy
	serveFor bus.ServeConfig
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{dir: t.TempDir(), policy: quick}
	s, err := embed.Start(embed.Options{Dir: filepath.Join(p.dir, "store"), LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.Bus, err = bus.Connect(t.Context(), bus.Config{InProcess: s, Name: "test", Log: slog.New(slog.NewJSONHandler(&p.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if _, err := p.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.producer = newProducer(t, s)
	keys := newKeys(t)
	p.sealer, p.opener, p.grants, p.people = keys.sealer, keys.opener, keys.grants, keys.people
	return p
}

type keys struct {
	sealer         *seal.Sealer
	opener         *seal.Opener
	grants, people *seal.Box
}

func newKeys(t *testing.T) (k keys) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	var errs [5]error
	errs[0] = seal.Generate(dir)
	k.sealer, errs[1] = seal.OpenCodesPublic(dir)
	k.opener, errs[2] = seal.OpenCodes(dir)
	k.grants, errs[3] = seal.OpenGrants(dir)
	k.people, errs[4] = seal.OpenPeople(dir)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return k
}

// run starts the workers.
func (p *plant) run(t *testing.T) {
	t.Helper()
	invitations, grants, registrations := p.Invitations(p.people), p.Grants(p.grants), p.Registrations()
	lane := func(lane events.Lane, h bus.Handler) bus.Lane {
		return bus.Lane{Lane: lane, Leg: "main", Window: 4, Policy: p.policy, Handler: h}
	}
	p.serveFor.Observer = &p.counted
	serve(t, p.Bus, p.serveFor,
		lane(events.Code, handlers.RedeemCode{
			Invitations: invitations, Grants: grants, Codes: p.opener, Microsoft: p, Owner: "w1", Now: time.Now,
		}),
		lane(events.Register, handlers.RegisterMailbox{
			Invitations: invitations, Grants: grants, Registrations: registrations, Identities: p.Identities(), Apps: p, Warmy: p, Margin: time.Minute,
			ReconcileAfter: time.Minute, Owner: "w1", Now: time.Now,
		}))
}

// invite stores what the console stores.
func (p *plant) invite(t *testing.T, id, app string) {
	t.Helper()
	inv := mailbox.Invitation{ID: id, Campaign: "campus", App: app, Account: "main", Address: addressOf(id)}
	if _, err := p.Invitations(p.people).Save(t.Context(), id, inv, 0); err != nil {
		t.Fatal(err)
	}
}

// grant stores what token-worker stores.
func (p *plant) grant(t *testing.T, id string) {
	t.Helper()
	now, saved := time.Now(), tokens()
	g := mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "att", EventID: "e", CodeAt: now, Since: now, Tokens: &saved}
	if _, err := p.Grants(p.grants).Save(t.Context(), id, g, 0); err != nil {
		t.Fatal(err)
	}
}

// code is the event of a code that the edge has received for a mailbox.
func (p *plant) code(t *testing.T, id, code string, at time.Time) events.Event {
	t.Helper()
	plain, err := mailbox.Consent{Code: secret.New(code), Verifier: secret.New("v"), Nonce: secret.New("n"), Tenant: "organizations"}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	e := events.New(events.CodeReceived, mailbox.CodeSeed(id, "att", mailbox.Hash(code)), at)
	e.Mailbox, e.App, e.Account, e.Campaign, e.Attempt, e.Deadline = id, "main", "main", "campus", "att", at.Add(mailbox.CodeLife)
	if e.Sealed, err = p.sealer.Seal(plain, mailbox.SealedCodeContext(id, "att")); err != nil {
		t.Fatal(err)
	}
	return e
}

func proven(id string) events.Event {
	e, who := event(events.RegistrationRequested, id), proofOf(addressOf(id))
	e.Proof = &who
	return e
}

func encoded(t *testing.T, e events.Event) string {
	t.Helper()
	data, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// letter waits until there are n dead letters, and returns the last one.
func (p *plant) letter(t *testing.T, n int) events.DeadLetter {
	t.Helper()
	var all []events.DeadLetter
	eventually(t, "the dead letter", func() bool { all = deadLetters(t, p.Bus); return len(all) >= n })
	if len(all) > n {
		t.Fatalf("%d dead letters, want %d: %+v", len(all), n, all)
	}
	return all[n-1]
}

// empty waits until a stream holds nothing: what was in it is concluded.
func (p *plant) empty(t *testing.T, stream string) {
	t.Helper()
	eventually(t, stream+" is empty", func() bool {
		n, err := bus.Waiting(t.Context(), p.Bus, stream)
		return err == nil && n == 0
	})
}

// flows shows that the lanes still work: an owner's consent ends in a registration.
func (p *plant) flows(t *testing.T) {
	t.Helper()
	redeemed, posted := p.redeemed.Load(), p.posted.Load()
	id := "healthy" + strings.ToLower(rand.Text()[:12])
	p.invite(t, id, "main")
	if err := p.Publish(t.Context(), p.code(t, id, "0.good", time.Now())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the healthy mailbox is registered", func() bool {
		reg, _, err := p.Registrations().Load(t.Context(), id)
		return err == nil && reg.Phase == mailbox.Registered
	})
	if p.redeemed.Load() != redeemed+1 || p.posted.Load() != posted+1 {
		t.Errorf("%d redeems and %d posts for one mailbox", p.redeemed.Load()-redeemed, p.posted.Load()-posted)
	}
}

func TestWhatIsNoEventIsQuarantined(t *testing.T) { //nolint:tparallel // what it sends goes through one lane, one after the other
	t.Parallel()
	p := newPlant(t)
	p.run(t)
	p.invite(t, "mb1", "main")
	p.grant(t, "mb1")
	good := proven("mb1")
	valid, subject := encoded(t, good), good.Subject()
	with := func(old, replacement string) string {
		if !strings.Contains(valid, old) {
			t.Fatalf("the event has no %s: %s", old, valid)
		}
		return strings.Replace(valid, old, replacement, 1)
	}
	at := good.At.Format("2006-01-02T15:04:05.999Z")
	code := p.code(t, "mb1", "0.code", time.Now())
	codeText := encoded(t, code)
	random := make([]byte, 512)
	_, _ = rand.Read(random)
	audit := `{"v":1,"at":"2026-11-23T12:30:45Z","actor":"op","role":"admin","action":"dead.replay","target":"7","count":1,"outcome":"done","request":"r1"}`
	register := strings.TrimSuffix(subject, ".mb1")
	for _, bad := range []struct { //nolint:paralleltest // one after the other
		name    string
		payload string
		subject string // "": the right one
		fault   string // "": undecodable
	}{
		{name: "empty"},
		{name: "1 byte", payload: "{"},
		{name: "random bytes", payload: string(random)},
		{name: "null", payload: "null"},
		{name: "array", payload: "[]"},
		{name: "number", payload: "7"},
		{name: "truncated JSON", payload: valid[:len(valid)/2]},
		{name: "trailing garbage", payload: valid + "{}"},
		{name: "duplicate keys", payload: with(`"mailbox":"mb1"`, `"mailbox":"mb2","mailbox":"mb1"`)},
		{name: "duplicate keys within", payload: with(`"tid":`, `"tid":"x","tid":`)},
		{name: "duplicate keys spelt differently", payload: with(`"mailbox":"mb1"`, `"mailbox":"mb1","m\u0061ilbox":"mb1"`)},
		{name: "wrong-case keys", payload: with(`"mailbox"`, `"Mailbox"`)},
		{name: "20,000-deep nesting", payload: with(`"v":1`, `"v":1,"x":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000))},
		{name: "bad UTF-8", payload: with(`"campaign":"campus"`, "\"campaign\":\"ca\xffmp\"")},
		{name: "no version", payload: with(`"v":1,`, "")},
		{name: "version 0", payload: with(`"v":1`, `"v":0`)},
		{name: "unknown type", payload: with("registration.requested", "mailbox.teleported")},
		{name: "type ≠ subject", payload: with("registration.requested", "registration.unclear")},
		{name: "no attempt id", payload: strings.Replace(codeText, `"attempt":"att",`, "", 1), subject: code.Subject()},
		{name: "malformed id", payload: with(`"mailbox":"mb1"`, `"mailbox":"m b1"`)},
		{name: "malformed attempt id", payload: with(`"attempt":"att"`, `"attempt":"../att"`)},
		{name: "malformed proof", payload: with(proofOf("").TenantID, "")},
		{name: "tenant ≠ subject", payload: strings.Replace(codeText, `"app":"main"`, `"app":"other"`, 1), subject: code.Subject()},
		{name: "account ≠ subject", payload: with(`"account":"main"`, `"account":"other"`)},
		{name: "time + 1 h", payload: with(at, good.At.Add(time.Hour).Format(time.RFC3339)), fault: "clock_ahead"},
		{name: "renewed in + 1 h", payload: with(good.ID+`"`, `another","renewed":"`+good.At.Add(time.Hour).Format(time.RFC3339)+`"`), fault: "clock_ahead"},
		{name: "time 1970", payload: with(at, "1970-01-01T00:00:00Z")},
		{name: "expiry before issue", payload: with(`"at":`, `"deadline":"2026-01-01T00:00:00Z","at":`)},
		{name: "negative attempt", payload: with(`"at":`, `"failed":-1,"at":`)},
		{name: "attempt beyond all policies", payload: with(`"at":`, `"failed":9223372036854775807,"at":`)},
		{name: "literal * subject", payload: valid, subject: register + ".*"},
		{name: "U+202E subject", payload: valid, subject: register + ".\u202emb1"},
		{name: "extra subject tokens", payload: valid, subject: subject + ".more"},
		{name: "a mailbox with U+202E in body and subject", payload: with("mb1", "\u202emb1"), subject: register + ".\u202emb1"},
		{name: "audit record in work stream", payload: audit},
	} {
		to := bad.subject
		if to == "" {
			to = subject
		}
		t.Run(bad.name, func(t *testing.T) {
			before := len(deadLetters(t, p.Bus))
			p.send(t, to, bad.payload)
			letter := p.letter(t, before+1)
			want := bad.fault
			if want == "" {
				want = "undecodable"
			}
			if letter.Code != want || letter.Class != string(fault.Permanent) || letter.Subject != to {
				t.Errorf("%s %s from %q, want %s", letter.Class, letter.Code, letter.Subject, want)
			}
			if got := letter.Payload(); !bytes.Equal(got, []byte(bad.payload)) {
				t.Errorf("its bytes are kept as %q, were %q", got, bad.payload)
			}
			p.empty(t, "REGISTER")
			p.empty(t, "CODE")
		})
	}
	if n := p.redeemed.Load() + p.posted.Load(); n != 0 {
		t.Errorf("%d calls for messages that are no events", n)
	}
	p.flows(t)
}

// What is well formed, but sealed by another's key, for another place, or about a mailbox that is not ours.
func TestWhatDoesNotOpenIsQuarantined(t *testing.T) { //nolint:tparallel // what it sends goes through one lane, one after the other
	t.Parallel()
	p := newPlant(t)
	p.run(t)
	retired := newKeys(t) // of another time: this keyset holds the key no more
	flip := func(sealed []byte, at int) []byte {
		changed := bytes.Clone(sealed)
		changed[at] ^= 1
		return changed
	}
	sealedBy := func(s *seal.Sealer, context string) []byte {
		plain, err := mailbox.Consent{Code: secret.New("0.code")}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := s.Seal(plain, context)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	for i, bad := range []struct { //nolint:paralleltest // one after the other
		name  string
		event func(t *testing.T, id string) events.Event
		fault string
	}{
		{"unknown key id", func(t *testing.T, id string) events.Event {
			t.Helper()
			e := p.code(t, id, "0.code", time.Now())
			e.Sealed = flip(e.Sealed, 2) // the prefix is a byte and four of the key's id
			return e
		}, "seal_broken"},
		{"deleted key", func(t *testing.T, id string) events.Event {
			t.Helper()
			e := p.code(t, id, "0.code", time.Now())
			e.Sealed = sealedBy(retired.sealer, mailbox.SealedCodeContext(id, "att"))
			return e
		}, "seal_broken"},
		{"bit flip", func(t *testing.T, id string) events.Event {
			t.Helper()
			e := p.code(t, id, "0.code", time.Now())
			e.Sealed = flip(e.Sealed, len(e.Sealed)-1)
			return e
		}, "seal_broken"},
		{"truncated ciphertext", func(t *testing.T, id string) events.Event {
			t.Helper()
			e := p.code(t, id, "0.code", time.Now())
			e.Sealed = e.Sealed[:len(e.Sealed)/2]
			return e
		}, "seal_broken"},
		{"record copied to another mailbox (AD)", func(t *testing.T, id string) events.Event {
			t.Helper()
			e := p.code(t, id, "0.code", time.Now())
			e.Sealed = sealedBy(p.sealer, mailbox.SealedCodeContext("another", "att"))
			return e
		}, "seal_broken"},
		{"other stage's record (AD)", func(t *testing.T, id string) events.Event {
			t.Helper()
			e := p.code(t, id, "0.code", time.Now())
			sealed, err := p.grants.Seal([]byte("tokens"), "v1|grant|"+id)
			if err != nil {
				t.Fatal(err)
			}
			e.Sealed = sealed
			return e
		}, "seal_broken"},
		{"stored grant of another mailbox", func(t *testing.T, id string) events.Event {
			t.Helper()
			p.grant(t, "origin"+id)
			p.copyRecord(t, "grants", "origin"+id, id)
			return proven(id)
		}, "record_not_opened"},
		{"stored grant under a deleted key", func(t *testing.T, id string) events.Event {
			t.Helper()
			saved := tokens()
			if _, err := p.Grants(retired.grants).Save(t.Context(), id, mailbox.Grant{Phase: mailbox.GrantSaved, Attempt: "att", Tokens: &saved}, 0); err != nil {
				t.Fatal(err)
			}
			return proven(id)
		}, "record_not_opened"},
		{"foreign tenant", func(t *testing.T, id string) events.Event {
			t.Helper()
			p.invite(t, id+"-of-other", "other")
			return p.code(t, id+"-of-other", "0.code", time.Now())
		}, "mailbox_of_another_app"},
		{"no mailbox record", func(t *testing.T, _ string) events.Event {
			t.Helper()
			return p.code(t, "neverinvited", "0.code", time.Now())
		}, "mailbox_unknown"},
		{"body disagrees with claim hash", func(t *testing.T, id string) events.Event {
			t.Helper()
			e := p.code(t, id, "0.code", time.Now())
			e.Sealed = p.code(t, id, "0.another", time.Now()).Sealed
			return e
		}, "code_not_claimed"},
		{"stored record that is no JSON", func(t *testing.T, id string) events.Event {
			t.Helper()
			p.send(t, "$KV.registrations."+id, "garbage")
			p.grant(t, id)
			return proven(id)
		}, "record_unreadable"},
		{"stored record with duplicate keys", func(t *testing.T, id string) events.Event {
			t.Helper()
			p.send(t, "$KV.registrations."+id, `{"phase":"registered","phase":""}`)
			p.grant(t, id)
			return proven(id)
		}, "record_unreadable"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			id := "mb" + string(rune('a'+i))
			p.invite(t, id, "main")
			e := bad.event(t, id)
			before := len(deadLetters(t, p.Bus))
			if err := p.Publish(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			letter := p.letter(t, before+1)
			if letter.Code != bad.fault || letter.Class != string(fault.Permanent) || letter.Mailbox != e.Mailbox {
				t.Errorf("%s %s of %s, want %s", letter.Class, letter.Code, letter.Mailbox, bad.fault)
			}
			p.empty(t, "REGISTER")
			p.empty(t, "CODE")
		})
	}
	if n := p.redeemed.Load() + p.posted.Load(); n != 0 {
		t.Errorf("%d calls for events that could not be opened", n)
	}
	p.flows(t)
}

// copyRecord puts one key's value under another.
func (p *plant) copyRecord(t *testing.T, bucket, from, to string) {
	t.Helper()
	stream, err := p.js.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), "$KV."+bucket+"."+from)
	if err != nil {
		t.Fatal(err)
	}
	p.send(t, "$KV."+bucket+"."+to, string(msg.Data))
}

func TestABrokenDeadLetterIsNeverReplayed(t *testing.T) { //nolint:tparallel // what it sends goes through one lane, one after the other
	t.Parallel()
	p := newPlant(t)
	golden, err := os.ReadFile(filepath.Join("..", "events", "testdata", "v1-dead-letter.json"))
	if err != nil {
		t.Fatal(err)
	}
	letter := strings.TrimSpace(string(golden))
	for name, edit := range map[string][2]string{ //nolint:paralleltest // one after the other
		"hand-edited dead letter: another mailbox":     {`"mailbox":"mbxmbxmbxmbxmbxmbxmbxmbx","app":"main","account":"agency","campaign":"camp1","stage"`, `"mailbox":"other","app":"main","account":"agency","campaign":"camp1","stage"`},
		"hand-edited dead letter: another subject":     {"kindling.register.agency.s15.", "kindling.register.agency.s14."},
		"hand-edited dead letter: another account":     {`"account":"agency","campaign":"camp1","attempt"`, `"account":"rival","campaign":"camp1","attempt"`},
		"hand-edited dead letter: no event":            {`"v":1,"id"`, `"id"`},
		"hand-edited dead letter: a field twice":       {`"stage":`, `"stage":"code","stage":`},
		"hand-edited dead letter: no JSON":             {`{"v":1,"event"`, `{"v":1,event"`},
		"obsolete-schema dead letter: no version":      {`{"v":1,"event"`, `{"event"`},
		"obsolete-schema dead letter: no stage":        {`"stage":"register",`, ""},
		"dead letter of a newer version":               {`{"v":1,"event"`, `{"v":2,"event"`},
		"dead letter of a version 0":                   {`{"v":1,"event"`, `{"v":0,"event"`},
		"dead letter whose event was cut by an editor": {`"attempt":"att1",`, `"attempt":"att1"`},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Count(letter, edit[0]) != 1 {
				t.Fatalf("%q stands %d times in the letter", edit[0], strings.Count(letter, edit[0]))
			}
			ack, err := p.js.Publish(t.Context(), "kindling.dead.register.permanent.mb", []byte(strings.Replace(letter, edit[0], edit[1], 1)))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.DeadLetters().Replay(t.Context(), ack.Sequence); err == nil {
				t.Error("it was replayed")
			}
			deadLetters(t, p.Bus) // reading past it works
			if n, err := bus.Waiting(t.Context(), p.Bus, "REGISTER"); err != nil || n != 0 {
				t.Errorf("%d events published, %v", n, err)
			}
			if err := p.DeadLetters().Discard(t.Context(), ack.Sequence); err != nil {
				t.Errorf("it cannot be discarded: %v", err)
			}
		})
	}
	ack, err := p.js.Publish(t.Context(), "kindling.dead.register.permanent.mb", golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.DeadLetters().Replay(t.Context(), ack.Sequence); err != nil {
		t.Errorf("the letter as it was is not replayed: %v", err)
	}
}

func TestWhatIsGoneAlreadyIsDiscardedWithoutAComplaint(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	ack, err := p.js.Publish(t.Context(), "kindling.dead.code.permanent.mb", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{ack.Sequence, ack.Sequence, ack.Sequence + 99} {
		if err := p.DeadLetters().Discard(t.Context(), seq); err != nil {
			t.Errorf("discard %d: %v", seq, err)
		}
	}
}
