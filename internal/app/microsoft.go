package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kindling/internal/microsoft"
)

// microsoftFigures are what Microsoft answers, counted.
type microsoftFigures struct {
	answers *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	unknown *prometheus.CounterVec
}

func newMicrosoftFigures() microsoftFigures {
	return microsoftFigures{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_microsoft_answers_total", Help: "Requests to Microsoft by call and outcome: ok, outage, interrupted, mixed_up, or a fault class.",
		}, []string{"call", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kindling_microsoft_seconds", Help: "Time from a request to Microsoft to its whole answer.",
			Buckets: []float64{0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 10, 15},
		}, []string{"call", "outcome"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kindling_microsoft_unknown_total", Help: "Refusals that the taxonomy does not know, by the error that they came with. The log has their numbers.",
		}, []string{"error"}),
	}
}

// mostNumbers bounds how many unknown numbers a process logs: whoever makes them up must not fill a disk.
const mostNumbers = 100

// microsoftWatch counts what Microsoft answers; it is the adaptor's Observer. An unknown number is logged once, because it
// is no label: the set of Microsoft's numbers is open.
type microsoftWatch struct {
	figures microsoftFigures
	log     *slog.Logger

	mu   sync.Mutex
	told map[int]bool
}

func newMicrosoftWatch(m *Metrics, log *slog.Logger) *microsoftWatch {
	return &microsoftWatch{figures: m.microsoft, log: log, told: map[int]bool{}}
}

// Answered counts one request.
func (w *microsoftWatch) Answered(call microsoft.Call, outcome microsoft.Outcome, took time.Duration) {
	w.figures.answers.WithLabelValues(string(call), string(outcome)).Inc()
	w.figures.seconds.WithLabelValues(string(call), string(outcome)).Observe(took.Seconds())
	if outcome == microsoft.OutcomeMixedUp {
		w.log.ErrorContext(context.Background(), "consents_mixed_up",
			"remedy", "look for mailboxes whose finding is AADSTS501481, AADSTS50147 or AADSTS501491; twice is no accident")
	}
}

// Unknown counts a refusal that the taxonomy does not know.
func (w *microsoftWatch) Unknown(word string, number int) {
	w.figures.unknown.WithLabelValues(word).Inc()
	if w.first(number) {
		w.log.WarnContext(context.Background(), "microsoft_answer_unknown", "error", word, "aadsts", number,
			"remedy", "it was treated by its error; look the number up in Microsoft's reference, and tell Kindling's maintainers")
	}
}

func (w *microsoftWatch) first(number int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told[number] || len(w.told) >= mostNumbers {
		return false
	}
	w.told[number] = true
	return true
}
