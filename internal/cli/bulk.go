package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/console"
	"kindling/internal/service"
)

// bulkFlags are the flags that bulk verbs share.
type bulkFlags struct {
	dryRun, detach   bool
	canary           int
	maxFailure, rate float64
	reason           string
}

func (b *bulkFlags) add(cmd *cobra.Command, canary bool) {
	flags := cmd.Flags()
	flags.BoolVar(&b.dryRun, "dry-run", false, "show what would be touched")
	flags.BoolVar(&b.detach, "detach", false, "do not wait for the job")
	flags.Float64Var(&b.rate, "rate", 0, "at most so many a second")
	flags.StringVar(&b.reason, "reason", "", "why; kept in the audit trail")
	if canary {
		flags.IntVar(&b.canary, "canary", 0, "do so many first, and the rest when all of them are decided")
		flags.Float64Var(&b.maxFailure, "max-failure", 0, "stop when more than so many percent die again (default 10)")
	}
	old := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, given []string) error {
		if cmd.Flags().Changed("rate") && !(b.rate >= 0.01 && b.rate <= 10_000) { // NaN is neither
			return usage(errors.New("--rate is 0.01 to 10,000 a second"))
		}
		if !(b.maxFailure >= 0 && b.maxFailure <= 100) {
			return usage(errors.New("--max-failure is a percentage, 0 to 100; 0 means 10"))
		}
		if old != nil {
			return old(cmd, given)
		}
		return nil
	}
}

// options are the flags as the console takes them.
func (b *bulkFlags) options(dry bool, confirm *int) console.BulkOptions {
	return console.BulkOptions{DryRun: dry, Confirm: confirm, Reason: b.reason, Canary: b.canary, MaxFailure: b.maxFailure, Rate: b.rate}
}

// bulkVerb is one bulk verb of the console.
type bulkVerb struct {
	verb, noun, path string
	body             func(dry bool, confirm *int) any
}

// bulk previews, asks, starts the job and waits for it.
func (s *shell) bulk(ctx context.Context, v bulkVerb, b bulkFlags) error {
	api, err := s.api()
	if err != nil {
		return err
	}
	preview, err := post[console.Preview](ctx, api, v.path, v.body(true, nil))
	if err != nil {
		return err
	}
	if b.dryRun {
		return s.print(previewSheet(preview))
	}
	s.sayPreview(preview, v)
	if preview.Count == 0 {
		s.say("nothing to do")
		return nil
	}
	if err := s.confirm(v, preview.Count); err != nil {
		return err
	}
	job, err := post[console.Job](ctx, api, v.path, v.body(false, &preview.Count))
	if err != nil {
		return err
	}
	if b.detach {
		return s.print(jobSheet([]console.Job{job}, job))
	}
	return s.wait(ctx, api, job)
}

func previewSheet(p console.Preview) sheet {
	d := sheet{header: []string{"what", "which", "count"}, value: p}
	add := func(what string, counts map[string]int) {
		for _, key := range sortedKeys(counts) {
			d.rows = append(d.rows, []string{what, key, strconv.Itoa(counts[key])})
		}
	}
	add("class", p.ByClass)
	add("state", p.ByState)
	add("left out", p.LeftOut)
	if p.Refused > 0 {
		d.rows = append(d.rows, []string{"refused", p.Remedy, strconv.Itoa(p.Refused)})
	}
	d.rows = append(d.rows, []string{"total", p.Selection, strconv.Itoa(p.Count)})
	return d
}

func (s *shell) sayPreview(p console.Preview, v bulkVerb) {
	s.say("%d %s chosen by %s", p.Count, v.noun, plain(p.Selection))
	for _, counts := range []map[string]int{p.ByClass, p.ByState} {
		for _, key := range sortedKeys(counts) {
			s.say("  %6d %s", counts[key], plain(key))
		}
	}
	for _, key := range sortedKeys(p.LeftOut) {
		s.say("  left out: %d %s", p.LeftOut[key], plain(key))
	}
	if p.Refused > 0 {
		s.say("  refused: %d (%s)", p.Refused, plain(p.Remedy))
	}
}

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

// typedAbove is the count above which a yes is not enough.
const typedAbove = 100

// confirm asks the operator. Where nobody can be asked, only --yes will do.
func (s *shell) confirm(v bulkVerb, count int) error {
	if s.yes {
		return nil
	}
	if !s.interactive {
		return usage(errors.New("there is no terminal to ask on: look at --dry-run, then say --yes"))
	}
	want := "y"
	if count > typedAbove {
		want = strconv.Itoa(count)
	}
	_, _ = fmt.Fprintf(s.env.Stderr, "%s %d %s? type %s to go on: ", v.verb, count, v.noun, want)
	line, err := bufio.NewReader(s.env.Stdin).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	switch {
	case err != nil && line == "":
	case answer == want, answer == "yes" && want == "y":
		return nil
	}
	return errors.New("not confirmed; nothing was done")
}

const pollEvery = 300 * time.Millisecond

// wait follows a job to its end.
func (s *shell) wait(ctx context.Context, api *API, job console.Job) error {
	meter := s.newMeter(job.Kind, int64(job.Total))
	defer meter.end()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !job.Ended() {
		select {
		case <-ctx.Done():
			meter.end()
			s.say("the job goes on without you: kindling replay status %s", job.ID)
			return ctx.Err()
		case <-tick.C:
		}
		var err error
		if job, err = get[console.Job](ctx, api, "/replays/"+job.ID, nil); err != nil {
			return err
		}
		meter.set(int64(job.Done+job.Skipped), job.State)
	}
	meter.end()
	if err := s.print(jobSheet([]console.Job{job}, job)); err != nil {
		return err
	}
	if job.State == console.JobDone && job.Note != "" {
		s.say("%s", plain(job.Note))
	}
	return outcome(job)
}

// outcome is the error of a job that did not do everything.
func outcome(job console.Job) error {
	switch {
	case job.DiedAgain > 0 && job.DiedAgain == job.Done && job.Done+job.Skipped == job.Total:
		return fmt.Errorf("all %d died again; see 'kindling dead list'", job.DiedAgain)
	case job.DiedAgain > 0:
		return service.WithExit(service.ExitPartly, fmt.Errorf("%d of %d died again: the job is %s; %s", job.DiedAgain, job.Done, job.State, cmp.Or(job.Note, "see 'kindling dead list'")))
	case job.State == console.JobDone && job.Skipped == 0:
		return nil
	case job.Done == 0:
		return fmt.Errorf("nothing was done: the job is %s; %s", job.State, job.Note)
	}
	return service.WithExit(service.ExitPartly, fmt.Errorf("%d of %d were done: the job is %s; %s", job.Done, job.Total, job.State, job.Note))
}

func anyChanged(cmd *cobra.Command, names ...string) bool {
	return slices.ContainsFunc(names, cmd.Flags().Changed)
}
