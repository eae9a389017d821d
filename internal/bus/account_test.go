package bus_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// The account that consented in place of the invited one is told to the console, which holds no key of tokens, and to
// nobody who reads the store.
func TestWhoConsentedInsteadIsSealedForTheConsole(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	who := mailbox.Account{Proof: events.Proof{TenantID: "tid", ObjectID: "oid"}, Address: secret.New("boss@contoso.example"), Alias: true}
	now := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	grant := mailbox.Grant{Phase: mailbox.GrantMismatch, Attempt: "att", Since: now, Consented: &who}
	token, console, blind := p.GrantsOf(p.grants, p.people), p.GrantsOf(nil, p.people), p.Grants(p.grants)
	if _, err := blind.Save(t.Context(), "mb1", grant, 0); err == nil {
		t.Error("a process without the people keyset lost the account in silence")
	}
	if _, err := token.Save(t.Context(), "mb1", grant, 0); err != nil {
		t.Fatal(err)
	}
	got, _, err := console.Load(t.Context(), "mb1")
	if err != nil || got.Consented == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if diff := cmp.Diff(who, *got.Consented, cmp.Comparer(secret.Text.Equal)); diff != "" {
		t.Error(diff)
	}
	if got, _, err := blind.Load(t.Context(), "mb1"); err != nil || got.Consented != nil || got.Phase != mailbox.GrantMismatch {
		t.Errorf("without the people keyset: %+v, %v", got, err)
	}
	raw := rawRecord(t, p.js, "grants", "mb1")
	for _, readable := range []string{"boss", "contoso", "oid\""} {
		if bytes.Contains(raw, []byte(readable)) {
			t.Errorf("%q is readable in the store: %s", readable, raw)
		}
	}
	if _, err := p.js.Publish(t.Context(), "$KV.grants.mb2", raw); err != nil {
		t.Fatal(err)
	}
	if _, _, err := console.Load(t.Context(), "mb2"); err == nil {
		t.Error("the account of one mailbox opens as another's")
	}
}

func rawRecord(t *testing.T, js jetstream.JetStream, bucket, key string) []byte {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), "$KV."+bucket+"."+key)
	if err != nil {
		t.Fatal(err)
	}
	return msg.Data
}

func TestAnAcceptanceIsStoredWithTheInvitationAndOlderOnesHaveNone(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.invite(t, "mb1", "main")
	store := p.Invitations(p.people)
	inv, revision, err := store.Load(t.Context(), "mb1")
	if err != nil || inv.Accepted != nil {
		t.Fatalf("%+v, %v", inv, err)
	}
	if raw := rawRecord(t, p.js, "mailboxes", "mb1"); bytes.Contains(raw, []byte("accepted")) {
		t.Errorf("an invitation without an acceptance is stored otherwise than before: %s", raw)
	}
	inv.Accepted = &mailbox.Acceptance{Proof: events.Proof{TenantID: "tid", ObjectID: "oid"}, Alias: true, At: time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)}
	if _, err := store.Save(t.Context(), "mb1", inv, revision); err != nil {
		t.Fatal(err)
	}
	got, _, err := store.Load(t.Context(), "mb1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inv, got); diff != "" {
		t.Error(diff)
	}
}
