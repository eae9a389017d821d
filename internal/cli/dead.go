package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/console"
	"kindling/internal/service"
)

func (s *shell) deadCommands() *cobra.Command {
	return s.group(&cobra.Command{Use: "dead", Aliases: []string{"dlq"}, Short: "Look at dead letters, replay or discard them"},
		s.deadListCommand(), s.deadShowCommand(), s.deadExportCommand(), s.deadCheckCommand(),
		s.deadBulkCommand("replay", "Try dead letters again; by default those that time or a setting can help", true),
		s.deadBulkCommand("discard", "Remove dead letters for good", false),
	)
}

// selectionFlags choose dead letters.
type selectionFlags struct {
	console.Selection

	ids          []string
	since, until string
}

func (f *selectionFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.ids, "id", nil, "these, by number")
	flags.StringSliceVar(&f.Classes, "class", nil, "transient, retry_after, permanent, needs_consent, unclear, leg_down")
	flags.StringSliceVar(&f.Stages, "stage", nil, "code, refresh, register, reconcile")
	flags.StringSliceVar(&f.Forecasts, "forecast", nil, "by_time, by_config, by_person, never")
	flags.StringSliceVar(&f.Codes, "code", nil, "with these codes, such as warmy_401")
	flags.StringSliceVar(&f.Campaigns, "campaign", nil, "of these campaigns, by id or name")
	flags.StringSliceVar(&f.Apps, "app", nil, "of these apps")
	flags.StringSliceVar(&f.Accounts, "account", nil, "of these accounts")
	flags.StringSliceVar(&f.Mailboxes, "mailbox", nil, "of these mailboxes, by id")
	flags.StringVar(&f.since, "since", "", "died since then: a time, or how long ago (2h, 3d)")
	flags.StringVar(&f.until, "until", "", "died before then")
	flags.BoolVar(&f.All, "all", false, "all of them")
}

// selection reads the flags.
func (f *selectionFlags) selection(now time.Time) (console.Selection, error) {
	sel := f.Selection
	for _, text := range f.ids {
		id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
		if err != nil || id == 0 {
			return sel, usage(fmt.Errorf("%.40q is not the number of a dead letter", text))
		}
		sel.IDs = append(sel.IDs, id)
	}
	var err error
	if sel.Since, err = when(f.since, now); err != nil {
		return sel, usage(fmt.Errorf("--since: %w", err))
	}
	if sel.Until, err = when(f.until, now); err != nil {
		return sel, usage(fmt.Errorf("--until: %w", err))
	}
	switch {
	case sel.All && !sel.Empty():
		return sel, usage(errors.New("--all stands beside other choices: leave one of them out"))
	case !sel.Since.IsZero() && !sel.Until.IsZero() && !sel.Since.Before(sel.Until):
		return sel, usage(errors.New("--since is not before --until"))
	}
	return sel, nil
}

// when reads a time, a date, or how long ago.
func when(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)).UTC(), nil
		}
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 {
		return time.Time{}, errors.New("write a time as 2006-01-02T15:04:05Z, or how long ago as 90m, 2h or 3d")
	}
	return now.Add(-ago).UTC(), nil
}

// selectionQuery writes a selection as the query of GET /dead.
func selectionQuery(sel console.Selection) url.Values {
	q := url.Values{}
	add := func(key string, values []string) {
		if len(values) > 0 {
			q.Set(key, strings.Join(values, ","))
		}
	}
	ids := make([]string, len(sel.IDs))
	for i, id := range sel.IDs {
		ids[i] = strconv.FormatUint(id, 10)
	}
	add("id", ids)
	add("class", sel.Classes)
	add("stage", sel.Stages)
	add("forecast", sel.Forecasts)
	add("code", sel.Codes)
	add("campaign", sel.Campaigns)
	add("app", sel.Apps)
	add("account", sel.Accounts)
	add("mailbox", sel.Mailboxes)
	if !sel.Since.IsZero() {
		q.Set("since", sel.Since.Format(time.RFC3339))
	}
	if !sel.Until.IsZero() {
		q.Set("until", sel.Until.Format(time.RFC3339))
	}
	return q
}

// eachDead visits the chosen dead letters, oldest first, until visit returns false.
func (s *shell) eachDead(ctx context.Context, sel console.Selection, visit func(console.DeadView) (bool, error)) error {
	api, err := s.api()
	if err != nil {
		return err
	}
	query := selectionQuery(sel)
	query.Set("limit", strconv.Itoa(pageSize))
	for {
		page, err := get[console.DeadList](ctx, api, "/dead", query)
		if err != nil {
			return err
		}
		for _, d := range page.Dead {
			if more, err := visit(d); err != nil || !more {
				return err
			}
		}
		if page.Next == 0 {
			return nil
		}
		query.Set("cursor", strconv.FormatUint(page.Next, 10))
	}
}

func (s *shell) deadListCommand() *cobra.Command {
	var f selectionFlags
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, oldest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usage(fmt.Errorf("--limit %d: at least 1 letter is listed", limit))
			}
			sel, err := f.selection(time.Now())
			if err != nil {
				return err
			}
			var found []console.DeadView
			err = s.eachDead(cmd.Context(), sel, func(d console.DeadView) (bool, error) {
				if len(found) == limit {
					s.say("there are more; raise --limit, or use 'kindling dead export'")
					return false, nil
				}
				found = append(found, d)
				return true, nil
			})
			if err != nil {
				return err
			}
			return s.print(deadSheet(found))
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}

func deadSheet(found []console.DeadView) sheet {
	d := sheet{
		header: []string{"id", "died", "stage", "class", "code", "forecast", "tries", "mailbox", "address", "remedy"},
		value:  console.DeadList{Dead: found}, items: []any{},
	}
	for _, l := range found {
		d.rows = append(d.rows, []string{
			strconv.FormatUint(l.Seq, 10), moment(l.DiedAt), string(l.Stage), l.Class, l.Code, l.Forecast, strconv.Itoa(len(l.Tries)), l.Mailbox, l.Address, l.Remedy,
		})
		d.items = append(d.items, l)
	}
	return d
}

func (s *shell) deadShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a dead letter with its history", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			seq, err := strconv.ParseUint(given[0], 10, 64)
			if err != nil || seq == 0 {
				return usage(fmt.Errorf("%.40q is not the number of a dead letter", given[0]))
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			l, err := get[console.DeadView](cmd.Context(), api, "/dead/"+strconv.FormatUint(seq, 10), nil)
			if err != nil {
				return err
			}
			d := sheet{header: []string{"at", "class", "code", "cause"}, value: l, items: []any{l}}
			for _, t := range l.Tries {
				d.rows = append(d.rows, []string{moment(t.At), t.Class, t.Code, t.Cause})
			}
			if err := s.print(d); err != nil {
				return err
			}
			s.answer("dead letter %d: %s %s of mailbox %s: %s\n  to do: %s\n  forecast: %s", l.Seq, l.Stage, l.Code, l.Mailbox, plain(l.Cause), plain(l.Remedy), l.Forecast)
			return nil
		},
	}
}

func (s *shell) deadExportCommand() *cobra.Command {
	var f selectionFlags
	var to string
	var overwrite bool
	cmd := &cobra.Command{
		Use: "export", Short: "Write dead letters as JSON lines, or with -o json as one array, without their sealed payloads", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			sel, err := f.selection(time.Now())
			if err != nil {
				return err
			}
			w, err := s.target(to, overwrite)
			if err != nil {
				return err
			}
			out := &rows{to: w, array: s.output == formatJSON}
			enc := json.NewEncoder(out)
			err = s.eachDead(cmd.Context(), sel, func(d console.DeadView) (bool, error) { return true, enc.Encode(d) })
			if err == nil {
				err = out.end()
			}
			if err = w.end(err); err != nil {
				return err
			}
			s.say("%d dead letters", out.lines)
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "write to this file, readable by you alone")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file")
	return cmd
}

func (s *shell) deadCheckCommand() *cobra.Command {
	var warn, critical int
	cmd := &cobra.Command{
		Use: "check", Short: "Compare the number of dead letters with limits, for a monitor: exit 0 ok, 3 warning, 1 critical", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case warn < 1:
				return usage(fmt.Errorf("--warn %d: the least is 1 dead letter", warn))
			case critical < warn:
				return usage(fmt.Errorf("--critical %d is below --warn %d", critical, warn))
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			status, err := get[console.Status](cmd.Context(), api, "/status", nil)
			if err != nil {
				return err
			}
			n, word := status.Dead.Total, "OK"
			var verdict error
			switch {
			case n >= critical:
				word, verdict = "CRITICAL", errors.New("too many dead letters")
			case n >= warn:
				word, verdict = "WARNING", service.WithExit(service.ExitPartly, errors.New("many dead letters"))
			}
			if s.output == formatTable {
				_, err = fmt.Fprintf(s.env.Stdout, "%s - %d dead letters | dead=%d;%d;%d\n", word, n, n, warn, critical)
			} else {
				err = s.print(sheet{header: []string{"verdict", "dead"}, rows: [][]string{{word, strconv.Itoa(n)}}, value: map[string]any{"verdict": word, "dead": status.Dead}})
			}
			return errors.Join(err, verdict)
		},
	}
	cmd.Flags().IntVar(&warn, "warn", 1, "warn from so many on")
	cmd.Flags().IntVar(&critical, "critical", 100, "critical from so many on")
	return cmd
}

func (s *shell) deadBulkCommand(verb, short string, canary bool) *cobra.Command {
	var f selectionFlags
	var b bulkFlags
	cmd := &cobra.Command{
		Use: verb, Short: short, Args: args(cobra.NoArgs),
		Example: "  kindling dead " + verb + " --stage register --since 2h --dry-run\n" +
			"  kindling dead " + verb + " --code warmy_401 --reason 'key renewed' --rate 50",
		RunE: func(cmd *cobra.Command, _ []string) error {
			sel, err := f.selection(time.Now())
			if err != nil {
				return err
			}
			if sel.Empty() && !sel.All {
				return usage(errors.New("nothing is selected: choose with flags, or say --all"))
			}
			body := func(dry bool, confirm *int) any {
				return console.Bulk{Selection: sel, BulkOptions: b.options(dry, confirm)}
			}
			return s.bulk(cmd.Context(), bulkVerb{verb: verb, noun: "dead letters", path: "/dead/" + verb, body: body}, b)
		},
	}
	f.add(cmd)
	b.add(cmd, canary)
	return cmd
}
