package mailbox_test

import (
	"slices"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// asked is a mailbox that Warmy has, whose operator wants it reconnected, before anything was done for it.
func asked(t *testing.T, proof bool) mailbox.Registration {
	t.Helper()
	e := reconnectOf(1, 5)
	if !proof {
		e.Proof = nil
	}
	reg, ok := posting(t, mailbox.Registration{}, 1).Created("4711", false, at).Wants(e, at)
	if !ok {
		t.Fatal("it is not wanted")
	}
	return reg
}

func TestAReconnectionThatHasLostItsEventIsFound(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Unclear, "")
	under := posting(t, asked(t, true), 1)
	for name, test := range map[string]struct {
		reg    mailbox.Registration
		after  time.Duration
		remedy mailbox.Remedy
		kind   events.Kind
	}{
		"asked for":                   {asked(t, true), time.Hour, mailbox.Reissue, events.RegistrationRequested},
		"asked for, and to be proven": {asked(t, false), time.Hour, mailbox.Reissue, events.RefreshRequested},
		"a POST is under way":         {under, mailbox.PostLease - 1, mailbox.NothingDue, ""},
		"its worker is gone":          {under, mailbox.PostLease, mailbox.Reissue, events.RegistrationUnclear},
		"unclear":                     {under.Unclear(f, at), time.Hour, mailbox.Reissue, events.RegistrationUnclear},
		"given up":                    {under.NotPosted(f, at).Bury(registerOf(1), f, at), time.Hour, mailbox.RestoreLetter, events.RefreshRequested},
		"given up while unclear":      {under.Unclear(f, at).Bury(reconcileOf(1), f, at), time.Hour, mailbox.RestoreLetter, events.RegistrationUnclear},
		"done":                        {under.Created("4711", false, at), time.Hour, mailbox.NothingDue, ""},
		"done, and a second id known": {under.Created("4712", false, at).Created("4711", true, at), time.Hour, mailbox.NothingDue, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			facts := mailbox.Facts{Invitation: invited().Invitation, Grant: savedGrant(t, 1), Registration: test.reg}
			facts.Invitation.ID = "mbx"
			now := at.Add(test.after)
			if due := facts.RegistrationDue(now); due.Remedy != test.remedy || due.Kind != test.kind && due.Remedy != mailbox.NothingDue {
				t.Errorf("due %+v", due)
			}
			if due := facts.GrantDue(now); due.Remedy != mailbox.NothingDue {
				t.Errorf("token-worker finds %+v", due)
			}
			unclear, abandoned := test.reg.Abandoned(now)
			if abandoned != (name == "its worker is gone") || abandoned && unclear.Work().Phase != mailbox.Uncertain || unclear.WarmyID != "4711" {
				t.Errorf("abandoned %v, %+v", abandoned, unclear)
			}
		})
	}
}

func TestWhatIsSeenOfAReconnectionIsARegisteredMailbox(t *testing.T) {
	t.Parallel()
	f := faultOf(fault.Permanent, "")
	under := posting(t, asked(t, true), 1)
	for name, test := range map[string]struct {
		reg    mailbox.Registration
		reason string
	}{
		"asked for":                      {asked(t, true), mailbox.Reconnecting},
		"a POST is under way":            {under, mailbox.Reconnecting},
		"unclear":                        {under.Unclear(f, at), mailbox.Reconnecting},
		"to be tried again":              {under.NotPosted(f, at), mailbox.Reconnecting},
		"given up":                       {under.NotPosted(f, at).Bury(registerOf(1), f, at), mailbox.ReconnectFailed},
		"done":                           {under.Created("4711", false, at), ""},
		"shown by the listing":           {under.Unclear(f, at).Created("4711", true, at), mailbox.ReconnectUnsure},
		"a second id, to be listed":      {under.Created("4712", false, at), mailbox.Reconnecting},
		"a second id, and not listed":    {under.Created("4712", false, at).Created("4711", true, at), mailbox.ReconnectFailed},
		"a second id, and an older POST": {under.Created("4712", false, at).Recheck(at), mailbox.Reconnecting},
		"a second id, to be looked at":   {under.Created("4712", false, at).Created("4711", true, at).Recheck(at), mailbox.Reconnecting},
		"a second id, and one is left":   {under.Created("4712", false, at).Recheck(at).Relisted("4711", at), mailbox.ReconnectUnsure},
		"a second id, and an operator":   {under.Created("4712", false, at).DeclaredAs("4711", at), mailbox.ReconnectUnsure},
		"a second id, declared absent":   {under.Created("4712", false, at).DeclaredAbsent(at), mailbox.Reconnecting},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			facts := mailbox.Facts{Invitation: invited().Invitation, Grant: savedGrant(t, 1), Registration: test.reg}
			got := mailbox.View(facts, at)
			if got.State != mailbox.StateRegistered || got.Reason != test.reason || got.WarmyID != "4711" || !got.Since.Equal(at) {
				t.Errorf("%+v", got)
			}
			two := []string{"a second id, to be listed", "a second id, and not listed", "a second id, and an older POST", "a second id, to be looked at"}
			if got.Two != slices.Contains(two, name) {
				t.Errorf("two ids: %v", got.Two)
			}
			if test.reason == mailbox.ReconnectFailed && got.Finding == nil {
				t.Error("nothing says why")
			}
		})
	}
}
