package warmy

import (
	"net/http"
	"time"
)

// Clock is what an answer of Warmy's said of the time.
type Clock struct {
	Server      time.Time // of the Date header, cut to the second; zero: there was none
	Sent, Heard time.Time // by this machine's clock
}

// Known reports whether the answer told the time.
func (c Clock) Known() bool { return !c.Server.IsZero() }

// Offset is by how much this machine's clock is certainly ahead (or, below zero, behind). A slow answer and the missing
// fraction of a second make it smaller, never larger.
func (c Clock) Offset() time.Duration {
	least, most := c.Sent.Sub(c.Server.Add(time.Second)), c.Heard.Sub(c.Server)
	switch {
	case least > 0:
		return least
	case most < 0:
		return most
	}
	return 0
}

// Clock returns what the account's last answer said of the time.
func (c *Client) Clock(account string) Clock {
	if w := c.accounts[account]; w != nil && w.clock.Load() != nil {
		return *w.clock.Load()
	}
	return Clock{}
}

// hear keeps what an answer says of the time.
func (w *workspace) hear(header http.Header, sent, heard time.Time) {
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		w.clock.Store(&Clock{Server: date, Sent: sent, Heard: heard})
	}
}
