package bustest

import (
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// Bubble runs a test in a synctest bubble in which real servers can be started with Server and New: minutes of their
// time pass in moments.
//
// The server keeps one clock per program (package ats), which its first user starts and which waits on a channel that
// no bubble owns: started inside a bubble, it would keep that bubble's time from passing. So it is started outside.
// Listening servers do not work in a bubble, because the time of a bubble stands still while it waits for the network.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	ats.Register()
	defer ats.Unregister()
	synctest.Test(t, f)
}
