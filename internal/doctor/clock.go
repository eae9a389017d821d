package doctor

import (
	"fmt"
	"sync"
	"time"

	"kindling/internal/microsoft"
)

// How far a clock may be off. Proofs of identity and lives of codes are judged by it, with a minute of leeway.
const (
	clockWarn = 30 * time.Second
	clockFail = time.Minute
)

// clocks are what the login hosts said of the time.
type clocks struct {
	mu    sync.Mutex
	hosts []string
	heard map[string]microsoft.Clock
}

// hear keeps the first answer of each host that tells the time.
func (c *clocks) hear(host string, clock microsoft.Clock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard == nil {
		c.heard = map[string]microsoft.Clock{}
	}
	if _, known := c.heard[host]; known || !clock.Known() {
		return
	}
	c.heard[host] = clock
	c.hosts = append(c.hosts, host)
}

// clock compares this machine's clock with what was heard.
func (d Doctor) clock(c *clocks) []Finding {
	r := report{area: areaClock}
	if len(c.hosts) == 0 {
		r.skip("", "no login host told the time")
	}
	const remedy = "set the clock, and keep it right with NTP (chrony, systemd-timesyncd)"
	for _, host := range c.hosts {
		off := c.heard[host].Offset()
		words := fmt.Sprintf("this machine's clock is %s ahead", off.Round(time.Second))
		if off < 0 {
			words = fmt.Sprintf("this machine's clock is %s behind", (-off).Round(time.Second))
		}
		switch {
		case off.Abs() > clockFail:
			r.add(Fail, Other, host, words+": proofs of identity are refused, and living codes are given up or dead ones sent", remedy)
		case off.Abs() > clockWarn:
			r.warn(host, words, remedy)
		default:
			r.ok(host, "this machine's clock agrees")
		}
	}
	return r.list
}
