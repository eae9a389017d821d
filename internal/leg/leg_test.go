package leg_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/leg"
)

func TestALegHasTheNameThatItsEventsUse(t *testing.T) {
	t.Parallel()
	e := events.Event{Kind: events.CodeReceived, App: "main", Account: "agency"}
	if got := leg.Name("microsoft", "main"); got != e.Leg() {
		t.Errorf("named %q, its events say %q", got, e.Leg())
	}
	if got := leg.Name("warmy", "agency"); got != e.Follow(events.RegistrationRequested, time.Time{}).Leg() {
		t.Errorf("named %q", got)
	}
}

func TestALegsKeyMayStandInASubject(t *testing.T) {
	t.Parallel()
	key := leg.Key(leg.Name("warmy", "agency-1"))
	if key != "warmy.agency-1" || strings.ContainsAny(key, "/*> ") {
		t.Errorf("key %q", key)
	}
}

// The stored form is what another version of Kindling reads: fields may be added, never renamed.
func TestTheStoredFormOfALegStaysAsItIs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for want, l := range map[string]leg.Leg{
		`{"name":"warmy/agency","state":"open"}`: {Name: "warmy/agency", State: leg.Open},
		`{"name":"warmy/agency","state":"held","code":"warmy_401","cause":"why","by":"fault","since":"2026-11-23T12:00:00Z","until":"2026-11-23T12:01:00Z"}`: {
			Name: "warmy/agency", State: leg.Held, Code: "warmy_401", Cause: "why", By: "fault", Since: at, Until: at.Add(time.Minute),
		},
	} {
		data, err := json.Marshal(l)
		if err != nil || string(data) != want {
			t.Errorf("stored as %s (%v), want %s", data, err, want)
		}
		var back leg.Leg
		if err := json.Unmarshal([]byte(want), &back); err != nil || back != l {
			t.Errorf("read as %+v (%v)", back, err)
		}
	}
	if leg.Probing == leg.Held || leg.Probing == leg.Open {
		t.Error("two states have one name")
	}
}
