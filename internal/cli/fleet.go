package cli

import (
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/console"
	"kindling/internal/leg"
)

func (s *shell) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the funnel, the legs and the dead letters at a glance", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			st, err := get[console.Status](cmd.Context(), api, "/status", nil)
			if err != nil {
				return err
			}
			if err := s.print(funnel(st.Funnel, st)); err != nil {
				return err
			}
			eta := ""
			switch {
			case !st.DoneAt.IsZero():
				eta = ", done at about " + leg.Clock(st.DoneAt, st.At)
			case st.InPipeline > 0:
				eta = ", no estimate"
			}
			s.answer("%.1f registered a minute, %d in the last hour; %d under way%s; %d dead letters",
				st.Rate, st.LastHour, st.InPipeline, eta, st.Dead.Total)
			s.outlooks(st.Legs, st.At)
			for _, l := range st.Legs {
				if l.State != leg.Open {
					s.answer("leg %s is %s since %s: %s", l.Name, l.State, moment(l.Since), plain(l.Cause))
				}
			}
			for _, e := range st.ExpiringSecrets {
				s.answer("client secret %d of app %s expires on %s: %d days left", e.Position, plain(e.App), plain(e.Expires), e.DaysLeft)
			}
			return nil
		},
	}
}

func (s *shell) replayCommands() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the jobs of the console", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			jobs, err := get[console.JobList](cmd.Context(), api, "/replays", nil)
			if err != nil {
				return err
			}
			return s.print(jobSheet(jobs.Jobs, jobs))
		},
	}
	var wait bool
	status := s.jobCommand("status", "Show a job's progress", func(cmd *cobra.Command, api *API, path string) error {
		job, err := get[console.Job](cmd.Context(), api, path, nil)
		if err != nil {
			return err
		}
		if wait && !job.Ended() {
			return s.wait(cmd.Context(), api, job)
		}
		return s.print(jobSheet([]console.Job{job}, job))
	})
	status.Flags().BoolVar(&wait, "wait", false, "follow it to its end")
	change := func(verb string) func(*cobra.Command, *API, string) error {
		return func(cmd *cobra.Command, api *API, path string) error {
			job, err := post[console.Job](cmd.Context(), api, path+"/"+verb, nil)
			if err != nil {
				return err
			}
			return s.print(jobSheet([]console.Job{job}, job))
		}
	}
	return s.group(&cobra.Command{Use: "replay", Aliases: []string{"replays", "job"}, Short: "Follow, stop and resume jobs"}, list, status,
		s.jobCommand("cancel", "Stop a job behind its current step", change("cancel")),
		s.jobCommand("resume", "Let a stopped or cancelled job go on", change("resume")))
}

func (s *shell) jobCommand(use, short string, run func(*cobra.Command, *API, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " JOB", Short: short, Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			return run(cmd, api, "/replays/"+url.PathEscape(given[0]))
		},
	}
}

func jobSheet(jobs []console.Job, value any) sheet {
	d := sheet{
		header: []string{"id", "kind", "state", "total", "done", "skipped", "recovered", "died_again", "by", "created", "selection", "note"},
		value:  value, items: []any{},
	}
	for _, j := range jobs {
		row := append([]string{j.ID, j.Kind, j.State}, numbers(j.Total, j.Done, j.Skipped, j.Recovered, j.DiedAgain)...)
		d.rows = append(d.rows, append(row, j.By, moment(j.CreatedAt), j.Selection, j.Note))
		d.items = append(d.items, j)
	}
	return d
}

func (s *shell) legCommands() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the legs and whether work flows on them", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			legs, err := get[console.LegList](cmd.Context(), api, "/legs", nil)
			if err != nil {
				return err
			}
			return s.legs(legs)
		},
	}
	var cause string
	hold := s.legCommand("hold", &cause)
	hold.Short = "Stop all work on a leg until it is released"
	hold.Flags().StringVar(&cause, "cause", "", "why, shown to everybody")
	var reason string
	release := s.legCommand("release", &reason)
	release.Short = "Let work on a leg flow again"
	release.Flags().StringVar(&reason, "reason", "", "why; kept in the audit trail")
	return s.group(&cobra.Command{Use: "leg", Aliases: []string{"legs"}, Short: "Hold and release dependencies"}, list, hold, release)
}

func (s *shell) legCommand(verb string, cause *string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " LEG", Args: args(cobra.ExactArgs(1)), Example: "  kindling leg " + verb + " warmy/main",
		RunE: func(cmd *cobra.Command, given []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			legs, err := post[console.LegList](cmd.Context(), api, "/legs/"+verb, console.LegChange{Name: given[0], Cause: *cause})
			if err != nil {
				return err
			}
			return s.legs(legs)
		},
	}
}

// some is a count, or nothing.
func some(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// legs prints the legs, and under them what their figures come to.
func (s *shell) legs(legs console.LegList) error {
	if err := s.print(legSheet(legs)); err != nil {
		return err
	}
	s.outlooks(legs.Legs, legs.At)
	return nil
}

// outlooks says of each leg on which something waits when that will be done.
func (s *shell) outlooks(legs []leg.Leg, now time.Time) {
	for _, l := range legs {
		if outlook := l.Outlook(now); outlook != "" {
			s.answer("%s: %s", l.Name, outlook)
		}
	}
}

func legSheet(legs console.LegList) sheet {
	d := sheet{
		header: []string{"leg", "state", "since", "until", "by", "cause", "waiting", "coming", "calls", "per minute", "not before", "done at"},
		value:  legs, items: []any{},
	}
	for _, l := range legs.Legs {
		until := moment(l.Until)
		if l.State == leg.Held && l.Until.IsZero() {
			until = "released by hand"
		}
		d.rows = append(d.rows, []string{
			l.Name, string(l.State), moment(l.Since), until, l.By, l.Cause, some(l.Waiting), some(l.Coming), some(l.Calls), l.Pace(), moment(l.NotBefore), moment(l.DoneAt),
		})
		d.items = append(d.items, l)
	}
	return d
}
