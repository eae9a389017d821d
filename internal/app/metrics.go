package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/warmy"
)

// Metrics are the figures of this process. Labels are from closed sets; nothing is per mailbox or tenant.
type Metrics struct {
	deliveries *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	edge       *prometheus.CounterVec
	codeLife   prometheus.Histogram
	drifts     prometheus.Gauge
	denied     prometheus.Counter
	disk       *diskUse
	gauges     *gauges
	rescued    *prometheus.CounterVec
	microsoft  microsoftFigures
	refused    *prometheus.GaugeVec
	expiries   *expiries
	refreshes  *prometheus.CounterVec
	listings   *prometheus.CounterVec
	hints      *prometheus.CounterVec
}

// NewMetrics registers the figures.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_deliveries_total", Help: "Deliveries concluded, by lane and outcome: ok, a fault class, dead, alarm, or left.",
		}, []string{"lane", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kindling_delivery_seconds", Help: "Time from delivery to conclusion, waiting for a held leg included.",
			Buckets: []float64{0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60},
		}, []string{"lane"}),
		edge: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_edge_answers_total", Help: "Answers of the public edge, by route and outcome.",
		}, []string{"route", "outcome"}),
		codeLife: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kindling_code_life_left_seconds", Help: "How long a code had to live when its redeem began; every redelivery counts.",
			Buckets: []float64{0, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 570, 590, 600},
		}),
		denied: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kindling_nats_denied_total", Help: "Publishes and requests that NATS denied this process's user.",
		}),
		drifts: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kindling_stream_differences", Help: "Settings of streams that differed from this build's when the process started.",
		}),
		disk:   newDiskUse(),
		gauges: newGauges(),
		rescued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_rescued_total", Help: "Events that fell silent or were lost, by what found or restored them.",
		}, []string{"how"}),
		microsoft: newMicrosoftFigures(),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kindling_secret_reload_failed", Help: "1 while the files of a leg's credentials hold what this process cannot use, and it uses the old ones.",
		}, []string{"leg", "process"}),
		expiries: newExpiries(),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_refreshes_total", Help: "Refreshes of grants and timers of idle ones, by outcome.",
		}, []string{"outcome"}),
		listings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_warmy_listings_total", Help: "Listings of Warmy that settle unclear registrations, by account and outcome.",
		}, []string{"account", "outcome"}),
		hints: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_warmy_hints_total", Help: "Webhooks of Warmy that were heeded, by account and what a look at the mailbox said.",
		}, []string{"account", "outcome"}),
	}
	for _, outcome := range handlers.RefreshOutcomes() {
		m.refreshes.WithLabelValues(outcome) // so that a rate has a beginning
	}
	registry.MustRegister(m.microsoft.answers, m.microsoft.seconds, m.microsoft.unknown)
	registry.MustRegister(m.deliveries, m.seconds, m.edge, m.codeLife, m.drifts, m.denied, m.disk, m.gauges, m.rescued, m.refused, m.expiries, m.refreshes, m.listings, m.hints)
	return m
}

// Delivered counts one delivery; it is the bus's Observer.
func (m *Metrics) Delivered(lane events.Lane, outcome string, took time.Duration) {
	m.deliveries.WithLabelValues(string(lane), outcome).Inc()
	m.seconds.WithLabelValues(string(lane)).Observe(took.Seconds())
}

// Refreshed counts what became of a refresh; outcome is one of handlers.RefreshOutcomes.
func (m *Metrics) Refreshed(outcome string) { m.refreshes.WithLabelValues(outcome).Inc() }

// Rescued counts what the second net has caught; it is the bus's Rescuer.
func (m *Metrics) Rescued(how string) { m.rescued.WithLabelValues(how).Inc() }

// listingsOf makes the counters of an account's listings, so that a rate has a beginning.
func (m *Metrics) listingsOf(account string) {
	for _, outcome := range warmy.ListingOutcomes() {
		m.listings.WithLabelValues(account, string(outcome))
	}
}
