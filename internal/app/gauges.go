package app

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/bus"
	"kindling/internal/leg"
)

const (
	// gaugesLife is how long figures serve further scrapes: several scrapers cost the store no more than one.
	gaugesLife = 5 * time.Second
	// gaugesTime bounds one reading, so that a scrape never hangs when NATS is gone.
	gaugesTime = 2 * time.Second
)

// reader reads the bus's figures.
type reader interface {
	Read(ctx context.Context) (bus.Figures, error)
}

// gauges are the store's figures as metrics, read when they are scraped. Without an answer of NATS there are none, but
// kindling_bus_up 0: old figures would mislead who scales by them.
type gauges struct {
	mu     sync.Mutex
	source reader
	widest bool // the source covers everything: no other one replaces it
	read   time.Time
	last   []prometheus.Metric

	up, pending, inFlight, ready, oldest, window, legState, budget, messages, bytes, fill, dead *prometheus.Desc
}

func newGauges() *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kindling_"+name, help, labels, nil)
	}
	return &gauges{
		up:       desc("bus_up", "Whether the figures of the message store could be read: 1 or 0."),
		pending:  desc("lane_pending", "Items waiting to be delivered, timers that are not due left out.", "lane", "leg"),
		inFlight: desc("lane_in_flight", "Items delivered and not settled, by all workers.", "lane", "leg"),
		ready:    desc("work_ready", "Waiting items that could proceed now: none while their leg is not open. For autoscaling.", "lane", "leg"),
		oldest:   desc("lane_oldest_seconds", "Age of the oldest item, in flight or not; 0 when there is none.", "lane", "leg"),
		window:   desc("lane_window_ratio", "How much of the fleet's window is in flight, 0 to 1.", "lane", "leg"),
		legState: desc("leg_state", "1 for the state that a leg is in, 0 for the others.", "leg", "state"),
		budget:   desc("warmy_budget_calls_per_minute", "Calls that the whole fleet may make at Warmy now; less than configured after 429s.", "account"),
		messages: desc("stream_messages", "Messages in a stream.", "stream"),
		bytes:    desc("stream_bytes", "Bytes in a stream.", "stream"),
		fill:     desc("stream_fill_ratio", "How much of a stream's limit is used, 0 to 1.", "stream"),
		dead:     desc("dead_letters", "Dead letters by stage, class and forecast.", "stage", "class", "forecast"),
	}
}

// follow makes source the one that is read. Where several processes run in one, the widest source is read alone: each
// figure has one series.
func (g *gauges) follow(source reader, widest bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.widest {
		return
	}
	g.source, g.widest, g.read = source, widest, time.Time{}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.up, g.pending, g.inFlight, g.ready, g.oldest, g.window, g.legState, g.budget, g.messages, g.bytes, g.fill, g.dead} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	for _, m := range g.current() {
		to <- m
	}
}

// current reads the figures unless those of the last reading are young; scrapes that come meanwhile wait for it.
func (g *gauges) current() []prometheus.Metric {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.source == nil {
		return nil
	}
	if time.Since(g.read) < gaugesLife {
		return g.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), gaugesTime)
	defer cancel()
	f, err := g.source.Read(ctx)
	g.read = time.Now()
	if err != nil {
		g.last = []prometheus.Metric{value(g.up, 0)}
		return g.last
	}
	g.last = g.metrics(f)
	return g.last
}

func (g *gauges) metrics(f bus.Figures) []prometheus.Metric {
	all := []prometheus.Metric{value(g.up, 1)}
	for _, l := range f.Lanes {
		lane := string(l.Lane)
		all = append(all,
			value(g.pending, float64(l.Pending), lane, l.Leg), value(g.inFlight, float64(l.InFlight), lane, l.Leg),
			value(g.ready, float64(l.Ready), lane, l.Leg), value(g.oldest, l.Oldest.Seconds(), lane, l.Leg),
			value(g.window, l.Window, lane, l.Leg))
	}
	for _, l := range f.Legs {
		for _, state := range []leg.State{leg.Open, leg.Held, leg.Probing} {
			all = append(all, value(g.legState, truth(l.State == state), l.Name, string(state)))
		}
	}
	for _, b := range f.Budgets {
		all = append(all, value(g.budget, b.PerMinute, b.Account))
	}
	for _, s := range f.Streams {
		all = append(all, value(g.messages, float64(s.Messages), s.Name), value(g.bytes, float64(s.Bytes), s.Name), value(g.fill, s.Fill, s.Name))
	}
	for _, d := range f.Dead {
		all = append(all, value(g.dead, float64(d.Count), d.Stage, d.Class, d.Forecast))
	}
	return all
}

func value(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// diskUse is how full the file system of the embedded server's store is. Without such a server there is no figure.
type diskUse struct {
	desc *prometheus.Desc

	mu   sync.Mutex
	used func() (float64, error)
}

func newDiskUse() *diskUse {
	return &diskUse{desc: prometheus.NewDesc("kindling_disk_used_ratio", "How full the file system of the embedded store is, 0 to 1.", nil, nil)}
}

func (d *diskUse) follow(used func() (float64, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used = used
}

// Describe implements prometheus.Collector.
func (d *diskUse) Describe(to chan<- *prometheus.Desc) { to <- d.desc }

// Collect implements prometheus.Collector.
func (d *diskUse) Collect(to chan<- prometheus.Metric) {
	d.mu.Lock()
	used := d.used
	d.mu.Unlock()
	if used == nil {
		return
	}
	if ratio, err := used(); err == nil {
		to <- value(d.desc, ratio)
	}
}
