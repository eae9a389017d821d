// Package doctor examines what a process would stand on, before links go out: configuration, keysets, clock, message
// store, public address, app registrations and Warmy accounts.
//
// It promises to run every check whatever the others found, to name the one that kept another from running, and to end
// within a bounded time; to change nothing anywhere, except that a call at Warmy spends one of the account's budget and may
// carry the workers' session on; and to show neither a secret nor a text of a third party, but for plain names of plans.
package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"kindling/internal/app"
	"kindling/internal/config"
	"kindling/internal/service"
)

// Status is what a check came to.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warn    Status = "warn"    // it works, or may work; somebody should know
	Fail    Status = "fail"    // it does not work
	Skipped Status = "skipped" // it was not looked at; the finding says why
)

// Kind tells who can help with a failure.
type Kind string

// The kinds of failures.
const (
	Configuration Kind = "configuration" // a setting, a file or a registration has to be changed
	Unreachable   Kind = "unreachable"   // something did not answer; it may be right
	Other         Kind = "other"
)

// Finding is one line of the report.
type Finding struct {
	Status  Status `json:"status"`
	Area    string `json:"area"`
	Subject string `json:"subject"`
	Found   string `json:"found"`
	Remedy  string `json:"remedy,omitempty"`
	Kind    Kind   `json:"kind,omitempty"` // of a failure
}

// The areas.
const (
	areaConfig  = "configuration"
	areaKeys    = "keys"
	areaApp     = "app"
	areaClock   = "clock"
	areaNATS    = "nats"
	areaEdge    = "edge"
	areaAccount = "account"
)

// report collects the findings of one area.
type report struct {
	area string
	list []Finding
}

func (r *report) add(status Status, kind Kind, subject, found, remedy string) {
	r.list = append(r.list, Finding{Status: status, Area: r.area, Subject: subject, Found: found, Remedy: remedy, Kind: kind})
}

func (r *report) ok(subject, found string)           { r.add(OK, "", subject, found, "") }
func (r *report) warn(subject, found, remedy string) { r.add(Warn, "", subject, found, remedy) }
func (r *report) skip(subject, why string)           { r.add(Skipped, "", subject, why, "") }
func (r *report) wrong(subject, found, remedy string) {
	r.add(Fail, Configuration, subject, found, remedy)
}

func (r *report) away(subject, found, remedy string) {
	r.add(Fail, Unreachable, subject, found, remedy)
}

// The limits of a run. A check that asks several times has its own limit for each question.
const (
	wholeLimit = time.Minute
	checkLimit = 40 * time.Second
	askLimit   = 8 * time.Second
)

// Doctor examines. Fields without a remark must be set.
type Doctor struct {
	Load      func() (config.Config, error)
	Role      config.Role       // of the process that shall run here
	Process   string            // its name, for the report
	Pre       bool              // nothing runs yet: NATS and edge are left out
	Data      app.Data          // of kindling up
	Transport http.RoundTripper // to Microsoft, Warmy and the edge; nil: one of its own for each
	Now       func() time.Time  // nil: time.Now
	Log       *slog.Logger      // of the connection to NATS; nil: nothing is logged
}

// check is one area, or one item of it. It must end soon after its context.
type check func(ctx context.Context, cfg config.Config) []Finding

// Examine runs all checks. The findings come in the same order each time.
func (d Doctor) Examine(ctx context.Context) []Finding {
	d = d.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	cfg, err := d.Load()
	found := d.configuration(cfg, err)
	if err != nil {
		return append(found, skippedAll("the configuration cannot be read")...)
	}
	clocks := &clocks{}
	checks := []check{d.keys}
	for _, a := range cfg.Apps {
		checks = append(checks, func(ctx context.Context, _ config.Config) []Finding { return d.app(ctx, a, clocks) })
	}
	later := len(checks) // the clock is read from the apps' answers
	checks = append(checks, d.nats, d.edge)
	for _, a := range cfg.Accounts {
		checks = append(checks, func(ctx context.Context, cfg config.Config) []Finding { return d.account(ctx, cfg, a) })
	}
	results := inParallel(ctx, cfg, checks)
	results = slices.Insert(results, later, d.clock(clocks))
	return append(found, slices.Concat(results...)...)
}

func (d Doctor) withDefaults() Doctor {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

// inParallel runs the checks at once, each within its limit.
func inParallel(ctx context.Context, cfg config.Config, checks []check) [][]Finding {
	results := make([][]Finding, len(checks))
	var running sync.WaitGroup
	for i, examine := range checks {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, checkLimit)
			defer cancel()
			results[i] = examine(ctx, cfg)
		})
	}
	running.Wait()
	return results
}

// skippedAll says of every area that it was not looked at.
func skippedAll(why string) []Finding {
	var all []Finding
	for _, area := range []string{areaKeys, areaApp, areaClock, areaNATS, areaEdge, areaAccount} {
		all = append(all, Finding{Status: Skipped, Area: area, Found: why})
	}
	return all
}

// Verdict is what the findings come to: nil if nothing failed, else an error with the exit code that tells who can help.
func Verdict(found []Finding) error {
	kinds := map[Kind]int{}
	failed := 0
	for _, f := range found {
		if f.Status == Fail {
			kinds[f.Kind]++
			failed++
		}
	}
	code := service.ExitFailed
	switch failed {
	case 0:
		return nil
	case kinds[Configuration]:
		code = service.ExitConfig
	case kinds[Unreachable]:
		code = service.ExitUnavailable
	}
	return service.WithExit(code, fmt.Errorf("%d of %d findings are failures; mend them before links go out", failed, len(found)))
}
