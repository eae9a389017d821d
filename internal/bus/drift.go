package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrUnfit means that the message store answers, and that Kindling must not work on it as it is. Waiting does not help.
var ErrUnfit = errors.New("the message store is not fit for use")

// exitConfig is service.ExitConfig, which this layer must not import.
const exitConfig = 78

// Severity says what a finding means for a process that starts.
type Severity string

// The severities.
const (
	Note      Severity = "note"      // worth one line
	Tolerated Severity = "tolerated" // an operator's choice, or harmless: a warning
	Unsafe    Severity = "unsafe"    // a promise would not hold: the process does not start
)

// Finding is one fact about the message store that an operator should know.
type Finding struct {
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Remedy   string   `json:"remedy,omitempty"`
}

// String is the finding as one sentence.
func (f Finding) String() string {
	if f.Remedy == "" {
		return f.What
	}
	return f.What + " (" + f.Remedy + ")"
}

// UnfitError lists everything that keeps a process from working on this store. It wraps ErrUnfit.
type UnfitError struct{ Findings []Finding }

// Error lists the findings, one a line.
func (e *UnfitError) Error() string {
	lines := []string{ErrUnfit.Error() + ":"}
	for _, f := range e.Findings {
		lines = append(lines, "  "+f.String())
	}
	return strings.Join(lines, "\n")
}

// ExitCode is the exit code of a process that ends with it, 78: somebody has to change a setting.
func (e *UnfitError) ExitCode() int { return exitConfig }

// Unwrap makes the error an ErrUnfit.
func (e *UnfitError) Unwrap() error { return ErrUnfit }

// Unfit returns what keeps a process from working on the store, and nil when nothing does.
func Unfit(findings []Finding) error {
	grave := slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Severity != Unsafe })
	if len(grave) == 0 {
		return nil
	}
	return &UnfitError{grave}
}

// Drift is a setting of an existing stream or consumer that is not what this build expects. It is reported and never
// altered silently: only Migrate, which an operator starts, alters it.
type Drift struct {
	Stream   string   `json:"stream"`
	Consumer string   `json:"consumer,omitempty"` // empty: the stream's own setting
	Setting  string   `json:"setting"`
	Want     string   `json:"want"`
	Have     string   `json:"have"`
	Severity Severity `json:"severity"`
	Harm     string   `json:"harm,omitempty"` // what goes wrong with it, if it is unsafe
	Fixed    bool     `json:"fixed"`          // the server refuses to change it in place
}

// Name names the stream, or the consumer as stream/consumer.
func (d Drift) Name() string {
	if d.Consumer != "" {
		return d.Stream + "/" + d.Consumer
	}
	return d.Stream
}

// String describes the difference.
func (d Drift) String() string {
	kind := "stream"
	if d.Consumer != "" {
		kind = "consumer"
	}
	return fmt.Sprintf("%s %s: %s is %s, expected %s", kind, d.Name(), d.Setting, d.Have, d.Want)
}

// Remedy says what an operator does about it.
func (d Drift) Remedy() string {
	switch {
	case d.Severity == Tolerated && d.Fixed:
		return "nothing needs to be done"
	case d.Severity == Tolerated:
		return "yours to choose; kindling store migrate --also " + d.Setting + " takes it back"
	case d.Fixed && d.Consumer != "":
		return "it cannot be changed in place: nats consumer rm " + d.Stream + " " + d.Consumer +
			"; the next start makes it anew, and what it held unacknowledged is delivered again"
	case d.Fixed && strings.HasPrefix(d.Stream, "KV_"):
		return "it cannot be changed in place: stop all processes, nats stream backup " + d.Stream +
			", make the stream anew and copy its messages back (docs/runbooks/store-drift.md)"
	case d.Fixed:
		return "it cannot be changed in place: let the stream run empty or nats stream backup " + d.Stream +
			", nats stream rm " + d.Stream + ", then kindling store migrate makes it anew (docs/runbooks/store-drift.md)"
	}
	return "kindling store migrate"
}

// Finding is the drift as something to tell an operator.
func (d Drift) Finding() Finding {
	what := d.String()
	if d.Harm != "" {
		what += ": " + d.Harm
	}
	return Finding{Severity: d.Severity, What: what, Remedy: d.Remedy()}
}

// Findings are the drifts as something to tell an operator.
func Findings(drifts []Drift) []Finding {
	found := make([]Finding, len(drifts))
	for i, d := range drifts {
		found[i] = d.Finding()
	}
	return found
}

// setting is one setting of C, a stream's or a consumer's configuration.
type setting[C any] struct {
	name  string
	show  func(*C) string
	take  func(to, from *C)
	harm  func(want, have *C) string // what goes wrong with the difference; empty: it is tolerated
	fixed func(want, have *C) bool   // whether the server refuses the change
}

// field makes the setting that is stored at one place of C. Every difference of it does harm, and can be mended.
func field[C, T any](name, harm string, at func(*C) *T) setting[C] {
	return setting[C]{
		name:  name,
		show:  func(c *C) string { return text(*at(c)) },
		take:  func(to, from *C) { *at(to) = *at(from) },
		harm:  func(*C, *C) string { return harm },
		fixed: func(*C, *C) bool { return false },
	}
}

// unless makes a difference harmless where tolerable says so.
func (s setting[C]) unless(tolerable func(want, have *C) bool) setting[C] {
	harm := s.harm
	s.harm = func(want, have *C) string {
		if tolerable(want, have) {
			return ""
		}
		return harm(want, have)
	}
	return s
}

// stuck marks the differences that the server does not let be mended in place.
func (s setting[C]) stuck(fixed func(want, have *C) bool) setting[C] {
	s.fixed = fixed
	return s
}

func always[C any](*C, *C) bool { return true }

// differences compares what a build wants with what the server has.
func differences[C any](settings []setting[C], want, have *C, place Drift) []Drift {
	var drifts []Drift
	for _, s := range settings {
		d := place
		d.Setting, d.Want, d.Have = s.name, s.show(want), s.show(have)
		if d.Want == d.Have {
			continue
		}
		d.Severity, d.Harm, d.Fixed = Unsafe, s.harm(want, have), s.fixed(want, have)
		if d.Harm == "" {
			d.Severity = Tolerated
		}
		drifts = append(drifts, d)
	}
	if slices.ContainsFunc(drifts, func(d Drift) bool { return d.Fixed && d.Severity == Unsafe }) {
		for i := range drifts { // what must be made anew is not mended first
			drifts[i].Fixed = true
		}
	}
	return drifts
}

// text shows a value as it stands in the server's JSON, a list in any order and a duration with its unit.
func text(value any) string {
	switch v := value.(type) {
	case []string:
		value = strings.Join(slices.Sorted(slices.Values(v)), " ")
	case []time.Duration:
		value = strings.Trim(fmt.Sprint(v), "[]")
	case time.Duration:
		value = v.String()
	}
	var buffer strings.Builder
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false) // subjects are full of >
	err := encoder.Encode(value)
	if shown := strings.Trim(buffer.String(), "\"\n"); err == nil && shown != "" && shown != "null" && shown != "{}" && shown != "[]" {
		return shown
	}
	return "none"
}
