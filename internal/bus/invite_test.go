package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// plainBox does not seal: these tests are about storing.
type plainBox struct{}

func (plainBox) Seal(plain []byte, _ string) ([]byte, error)  { return plain, nil }
func (plainBox) Open(sealed []byte, _ string) ([]byte, error) { return sealed, nil }

func invitations(from, to int) []mailbox.Invitation {
	var all []mailbox.Invitation
	for i := from; i < to; i++ {
		all = append(all, mailbox.Invitation{ID: fmt.Sprintf("mb%04d", i), App: "main", Account: "main", Address: fmt.Sprintf("a%d@x.example", i)})
	}
	return all
}

func TestInvitationsAreCreatedOnceWhetherTheBatchIsNewOrNot(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	store := b.InvitationStore(plainBox{})
	for _, c := range []struct{ from, to, known int }{
		{0, 500, 0},     // all new
		{0, 500, 500},   // again
		{490, 510, 10},  // some known
		{600, 601, 0},   // a single one
		{1000, 2500, 0}, // more than one atomic batch may hold
		{2500, 2500, 0}, // none
		{2400, 2600, 100},
	} {
		results, err := store.Create(t.Context(), invitations(c.from, c.to))
		if err != nil || len(results) != c.to-c.from {
			t.Fatalf("%d to %d: %d results, %v", c.from, c.to, len(results), err)
		}
		known := 0
		for _, r := range results {
			if errors.Is(r, handlers.ErrConflict) {
				known++
			} else if r != nil {
				t.Fatal(r)
			}
		}
		if known != c.known {
			t.Errorf("%d to %d: %d known, want %d", c.from, c.to, known, c.known)
		}
	}
	if n, err := bus.Waiting(t.Context(), b, "KV_mailboxes"); err != nil || n != 510+1+1600 {
		t.Errorf("%d invitations stored, %v", n, err)
	}
	if inv, revision, err := store.Load(t.Context(), "mb0505"); err != nil || revision == 0 || inv.Address != "a505@x.example" {
		t.Errorf("loaded %+v, %d, %v", inv, revision, err)
	}
}

func TestABatchOfInvitationsCostsOneAtomicStep(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := bus.CreateAtomic(t.Context(), b.InvitationStore(plainBox{}), invitations(0, 300)); err != nil {
		t.Errorf("the server refuses the batch: %v", err)
	}
	if err := bus.CreateAtomic(t.Context(), b.InvitationStore(plainBox{}), invitations(299, 310)); err == nil {
		t.Error("a batch with a known mailbox was stored")
	}
	if n, err := bus.Waiting(t.Context(), b, "KV_mailboxes"); err != nil || n != 300 {
		t.Errorf("%d invitations stored, %v", n, err)
	}
}
