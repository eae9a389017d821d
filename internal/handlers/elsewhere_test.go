package handlers_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
	"kindling/internal/sim/warmyapi"
	live "kindling/internal/warmy"
)

// alias is the address under which Warmy keeps the owner's mailbox.
const alias = "the.owner@example.com"

// client is the real client of a simulated Warmy, and the real census.
type client struct {
	*live.Client

	census *live.Census
}

func (c client) Look(ctx context.Context, account, whose string, since time.Time) (handlers.Listing, error) {
	return c.census.Look(ctx, account, whose, since)
}

// aliased is a world at a simulated Warmy that keeps mailboxes under the alias, and makes another of every POST.
func aliased(t *testing.T) (*world, *warmyapi.Server, events.Event) {
	t.Helper()
	w, e := granted(t)
	server := warmyapi.New(warmyapi.Config{
		HolderUID: "holder", APIKeys: []string{"key"}, Now: w.clock,
		Switches: warmyapi.Switches{CallsPerMinute: -1, OtherAddress: alias, Duplicate: warmyapi.DuplicateSecond},
	})
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	c := live.New(live.Config{
		Accounts: []live.Account{{Name: "agency", BaseURL: listener.URL, APIKey: secret.New("key"), HolderUID: "holder"}},
		Now:      w.clock,
	})
	listed := &memory[mailbox.Listed]{world: w, name: "listed", facts: map[string]stored[mailbox.Listed]{}}
	w.real = client{c, live.NewCensus(live.CensusConfig{Warmy: c, Listed: listed, Now: w.clock})}
	return w, server, e
}

// TestAnAnswerUnderAnotherAddressIsNeverPostedAgain follows it from the POST to the operator's word, at a Warmy whose listing
// never shows the invited address.
func TestAnAnswerUnderAnotherAddressIsNeverPostedAgain(t *testing.T) {
	t.Parallel()
	w, server, e := aliased(t)
	if !w.run(t.Context(), e) {
		t.Fatal("it does not end")
	}
	posts, got := server.Posts(address), w.status()
	if len(posts) != 1 || len(server.Mailboxes("")) != 1 || got.State != mailbox.StateDead || got.Finding.Code != "warmy_other_address" {
		t.Fatalf("%d POSTs made %+v; %+v", len(posts), server.Mailboxes(""), got)
	}
	reg := w.registrations.get()
	if reg.Elsewhere == "" || !strings.Contains(got.Finding.Remedy, reg.Elsewhere) {
		t.Errorf("nothing tells the id that Warmy answered with: %+v", got.Finding)
	}
	unclear := e.Follow(events.RegistrationUnclear, w.now)
	if !w.run(t.Context(), unclear.Replayed(7, w.now)) || len(server.Posts(address)) != 1 || w.status().State != mailbox.StateDead {
		t.Errorf("the replay: %d POSTs, %+v", len(server.Posts(address)), w.status())
	}
	w.now = w.now.Add(settle)
	absent := decision(w, e, events.Decision{})
	if _, err := w.handlerOf(absent).Handle(t.Context(), absent); fault.Of(err).Code != "decision_refuted" {
		t.Errorf("what Warmy has answered is declared absent: %v", err)
	}
	adopt := decision(w, e, events.Decision{WarmyID: reg.Elsewhere})
	if !w.run(t.Context(), adopt) || w.status().State != mailbox.StateRegistered || w.status().WarmyID != reg.Elsewhere {
		t.Fatalf("adopted as %+v", w.status())
	}
	w.check(t)
}

// TestAnAdoptedAliasIsReconnectedUnderItsID tells Warmy anew what to use for a mailbox that its listing never shows.
func TestAnAdoptedAliasIsReconnectedUnderItsID(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"answered": false, "the answer is lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, server, e := aliased(t)
			w.run(t.Context(), e)
			id := w.registrations.get().Elsewhere
			if !w.run(t.Context(), decision(w, e, events.Decision{WarmyID: id})) {
				t.Fatal("it does not end")
			}
			server.Turn(warmyapi.Switches{CallsPerMinute: -1, OtherAddress: alias}) // a second POST changes what is there
			if lost {
				if err := server.Fault(warmyapi.WithoutID()); err != nil {
					t.Fatal(err)
				}
			}
			if !w.run(t.Context(), reconnectOf("job", w.now)) {
				t.Fatal("it does not end")
			}
			wants := map[bool]string{true: mailbox.ReconnectFailed}[lost]
			if got := w.status(); len(server.Posts(address)) != 2 || got.WarmyID != id || got.State != mailbox.StateRegistered || got.Reason != wants {
				t.Errorf("%d POSTs, %+v", len(server.Posts(address)), got)
			}
		})
	}
}

// TestAnIDUnderAnotherAddressIsNotForgottenForTheListedOne has Warmy list the invited address under another id.
func TestAnIDUnderAnotherAddressIsNotForgottenForTheListedOne(t *testing.T) {
	t.Parallel()
	w, server, e := aliased(t)
	o := w.deliver(t.Context(), e)
	server.Turn(warmyapi.Switches{CallsPerMinute: -1})
	known, err := w.real.Create(t.Context(), "agency", handlers.NewMailbox{
		Address: address, FromName: "Owner", ClientID: "c", ClientSecret: secret.New("s"), Access: secret.New("a"), Refresh: secret.New("r"),
		TariffPlanTypeID: 41, Intend: func(context.Context) error { return nil },
	})
	if err != nil || !w.run(t.Context(), o.follow...) {
		t.Fatalf("it does not end, or %v", err)
	}
	got, reg := w.status(), w.registrations.get()
	if got.State != mailbox.StateRegistered || got.WarmyID != known || got.Reason != mailbox.ReconnectFailed || got.Finding.Code != "warmy_second_id" || !reg.Two() {
		t.Errorf("%+v, %+v", got, reg.Again)
	}
}
