package app

import (
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

func TestACodeWhoseHandlerNeverComesToAnEndIsBuriedAnHourAfterItDied(t *testing.T) {
	t.Parallel()
	policy := codePolicy(config.Policy{RetryBase: time.Second, RetryCap: time.Minute})
	at := time.Now()
	e := events.New(events.CodeReceived, "seed", at)
	e.Deadline = at.Add(mailbox.CodeLife)
	for name, test := range map[string]struct {
		class fault.Class
		after time.Duration // the code was received
		want  bus.Verdict
	}{
		"panics while the code lives":        {fault.Transient, time.Minute, bus.Retry},
		"panics when the code is dead":       {fault.Transient, mailbox.CodeLife + 30*time.Minute, bus.Retry},
		"panics long after the code is dead": {fault.Transient, mailbox.CodeLife + codeGrace, bus.Bury},
		"its leg is held meanwhile":          {fault.LegDown, 24 * time.Hour, bus.Hold},
	} {
		got := policy.Decide(e, &fault.Fault{Class: test.class, Code: "panic"}, 1000, at.Add(test.after), 0.5)
		if got.Verdict != test.want {
			t.Errorf("%s: %+v, want verdict %v", name, got, test.want)
		}
	}
}

func TestTheDefaultPolicyOfWorkIsThatOfAConfigurationThatSetsNone(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(config.Source{File: yaml(t, "console: {}\n")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := DefaultWorkPolicy()
	if err != nil || got != workPolicy(cfg.Policy) || got.Base != 2*time.Second || got.Cap != 5*time.Minute {
		t.Errorf("got %+v, %v; want %+v", got, err, workPolicy(cfg.Policy))
	}
}
