package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kindling/internal/campaign"
	"kindling/internal/console"
	"kindling/internal/console/roster"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/service"
)

func (s *shell) campaignCommands() *cobra.Command {
	return s.group(&cobra.Command{Use: "campaign", Aliases: []string{"campaigns"}, Short: "Import mailboxes and hand out their links"},
		s.importCommand(), s.campaignListCommand(), s.campaignShowCommand(), s.linksCommand(), s.exportCommand(),
		&cobra.Command{
			Use: "template", Short: "Print an example file with every column", Args: args(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error {
				_, err := s.env.Stdout.Write(campaign.Template())
				return err
			},
		},
	)
}

// importFlags are the flags of campaign import.
type importFlags struct {
	name, app, account, tenant, speed, result string
	tariff                                    string
	dryRun, overwrite                         bool
}

func (f importFlags) query() url.Values {
	q := url.Values{"name": {f.name}}
	for key, value := range map[string]string{"app": f.app, "account": f.account, "tenant": f.tenant, "speed_mode": f.speed, "tariff_plan_type_id": f.tariff} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if f.dryRun {
		q.Set("dry_run", "true")
	}
	return q
}

func (s *shell) importCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Import a CSV of mailboxes; importing it again is harmless", Args: args(cobra.ExactArgs(1)),
		Example: "  kindling campaign import owners.csv --name 'Acme May' --dry-run\n" +
			"  kindling campaign import owners.csv --name 'Acme May' --result result.csv\n" +
			"  cat owners.csv | kindling campaign import - --name 'Acme May'",
		RunE: func(cmd *cobra.Command, given []string) error { return s.importFile(cmd, given[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name of the campaign (default the file's)")
	flags.StringVar(&f.app, "app", "", "app registration of rows that name none")
	flags.StringVar(&f.account, "account", "", "Warmy account of rows that name none")
	flags.StringVar(&f.tenant, "tenant", "", "Microsoft tenant of rows that name none")
	flags.StringVar(&f.speed, "speed-mode", "", "slow, medium or fast, of rows that name none")
	flags.StringVar(&f.tariff, "tariff-plan", "", "Warmy's tariff plan, by its id or its name, of rows that name none")
	flags.StringVar(&f.result, "result", "", "write what became of each row to this CSV, links included")
	flags.BoolVar(&f.overwrite, "overwrite", false, "let --result replace a file")
	flags.BoolVar(&f.dryRun, "dry-run", false, "judge the file, store nothing")
	return cmd
}

func (s *shell) importFile(cmd *cobra.Command, path string, f importFlags) error {
	api, err := s.api()
	if err != nil {
		return err
	}
	file, size, err := s.source(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if f.name == "" {
		if path == "-" {
			return usage(errors.New("a campaign from standard input needs --name"))
		}
		f.name = strings.TrimSuffix(filepath.Base(path), ".csv")
	}
	if f.result == "" && s.output != formatCSV {
		report, err := s.upload(cmd.Context(), api, f, file, size, nil)
		if err != nil {
			return err
		}
		return s.reported(report, false)
	}
	if err := s.refuseSame(path, f.result); err != nil {
		return err
	}
	results, err := s.target(f.result, f.overwrite)
	if err != nil {
		return err
	}
	report, err := s.upload(cmd.Context(), api, f, file, size, results)
	if err = results.end(err); err != nil {
		return err
	}
	return s.reported(report, true)
}

func (s *shell) upload(ctx context.Context, api *API, f importFlags, file io.Reader, size int64, results io.Writer) (console.ImportReport, error) {
	meter := s.newMeter("uploaded", size)
	defer meter.end()
	return api.Import(ctx, f.query(), meter.reader(file), results)
}

// source opens a campaign's file. A file that is no CSV is refused before anything is sent.
func (s *shell) source(path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(s.env.Stdin), 0, nil
	}
	file, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, 0, service.WithExit(service.ExitData, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close() // it was not even read
		return nil, 0, service.WithExit(service.ExitData, err)
	}
	if info.IsDir() {
		_ = file.Close() // it was not even read
		return nil, 0, service.WithExit(service.ExitData, errors.New("this is a directory: name the CSV file inside it"))
	}
	if !info.Mode().IsRegular() {
		return file, 0, nil // a pipe can be read once only
	}
	_, err = campaign.Survey(campaign.Read(file, campaign.Rules{}), nil)
	if _, seekErr := file.Seek(0, io.SeekStart); seekErr != nil || err != nil {
		_ = file.Close() // it was only read
		return nil, 0, service.WithExit(service.ExitData, errors.Join(err, seekErr))
	}
	return file, info.Size(), nil
}

// reported prints what became of the file. Rows that were refused make the import a partial one.
func (s *shell) reported(r console.ImportReport, written bool) error {
	if !written {
		d := sheet{header: []string{"row", "column", "code", "reason", "remedy"}, value: r}
		for _, p := range r.Problems {
			d.rows = append(d.rows, []string{strconv.Itoa(p.Line), p.Column, string(p.Code), p.Reason, p.Remedy})
		}
		if s.output != formatTable || len(d.rows) > 0 {
			if err := s.print(d); err != nil {
				return err
			}
		}
	}
	verb := "invited"
	if r.DryRun {
		verb = "would be invited"
	}
	s.say("campaign %s: %d rows, %d %s, %d known, %d updated, %d refused, %d duplicates, %d not stored (%.1f s)",
		r.Campaign, r.Rows, r.Invited, verb, r.Known, r.Updated, r.Refused, r.Duplicates, r.Failed, r.Seconds)
	if len(r.Unchecked) > 0 {
		s.say("the tariff plans of %s are not known yet, so that ids were taken without a check: see that warmy-worker runs and reaches Warmy", strings.Join(r.Unchecked, ", "))
	}
	for _, account := range r.Accounts {
		s.say("%s: %s", account.Account, account.Words(time.Now()))
	}
	switch {
	case r.File != nil:
		return service.WithExit(service.ExitData, fmt.Errorf("the file ends early: %s; the rows before were taken", r.File))
	case r.Complete():
		return nil
	case r.Invited+r.Known+r.Updated == 0:
		return service.WithExit(service.ExitData, errors.New("no row could be used"))
	}
	return service.WithExit(service.ExitPartly, errors.New("some rows were not taken"))
}

func (s *shell) campaignListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the campaigns with their funnels", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := s.campaigns(cmd)
			if err != nil {
				return err
			}
			d := sheet{header: []string{"id", "name", "created", "total", "registered", "under_way", "invited", "needs_consent", "dead", "done_by"}, value: list, items: []any{}}
			for _, c := range list.Campaigns {
				n := c.Funnel.ByState
				under := n[mailbox.StateCodeReceived] + n[mailbox.StateRedeeming] + n[mailbox.StateGranted] + n[mailbox.StateRegistering] + n[mailbox.StateUnclear]
				counts := numbers(c.Funnel.Total, n[mailbox.StateRegistered], under, n[mailbox.StateInvited], n[mailbox.StateNeedsConsent], n[mailbox.StateDead])
				d.rows = append(d.rows, slices.Concat([]string{c.ID, c.Name, moment(c.CreatedAt)}, counts, []string{moment(c.DoneBy)}))
				d.items = append(d.items, c)
			}
			return s.print(d)
		},
	}
}

func numbers(values ...int) []string {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = strconv.Itoa(v)
	}
	return cells
}

func (s *shell) campaigns(cmd *cobra.Command) (console.CampaignList, error) {
	api, err := s.api()
	if err != nil {
		return console.CampaignList{}, err
	}
	return get[console.CampaignList](cmd.Context(), api, "/campaigns", nil)
}

// campaign finds a campaign by its id or its name.
func (s *shell) campaign(cmd *cobra.Command, ref string) (console.CampaignView, error) {
	list, err := s.campaigns(cmd)
	if err != nil {
		return console.CampaignView{}, err
	}
	for _, c := range list.Campaigns {
		if c.ID == ref || strings.EqualFold(c.Name, ref) {
			return c, nil
		}
	}
	return console.CampaignView{}, errors.New("there is no such campaign (see 'kindling campaign list')")
}

func (s *shell) campaignShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show CAMPAIGN", Short: "Show a campaign's funnel; it is named by its id or its name", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			found, err := s.campaign(cmd, given[0])
			if err != nil {
				return err
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			c, err := get[console.CampaignView](cmd.Context(), api, "/campaigns/"+url.PathEscape(found.ID), nil)
			if err != nil {
				return err
			}
			s.answer("campaign %s (%s), imported %s by %s: %d rows, %d refused", c.ID, plain(c.Name), moment(c.CreatedAt), plain(c.CreatedBy), c.Rows, c.Refused)
			if err := s.print(funnel(c.Funnel, c)); err != nil {
				return err
			}
			s.outlook(c)
			return nil
		},
	}
}

// outlook says what waits at the Warmy accounts that a campaign uses, of all campaigns, which share each account's calls; and
// when this one will be done at the latest.
func (s *shell) outlook(c console.CampaignView) {
	now := time.Now()
	for _, l := range c.Legs {
		if outlook := l.Outlook(now); outlook != "" {
			s.answer("%s, all campaigns: %s", l.Name, outlook)
		}
	}
	if !c.DoneBy.IsZero() {
		s.answer("what is under way of this campaign is done by about %s at the latest", leg.Clock(c.DoneBy, now))
	}
}

// funnel lays counts out by state, each followed by its reasons.
func funnel(n roster.Counts, value any) sheet {
	d := sheet{header: []string{"state", "reason", "mailboxes"}, value: value}
	for _, state := range mailbox.States() {
		d.rows = append(d.rows, []string{string(state), "", strconv.Itoa(n.ByState[state])})
		for _, key := range sortedKeys(n.ByReason) {
			if reason, ok := strings.CutPrefix(key, string(state)+"/"); ok {
				d.rows = append(d.rows, []string{string(state), reason, strconv.Itoa(n.ByReason[key])})
			}
		}
	}
	return d
}

func (s *shell) linksCommand() *cobra.Command {
	var to string
	var overwrite bool
	var states []string
	cmd := &cobra.Command{
		Use: "links CAMPAIGN", Short: "Hand out the consent links that owners should still follow", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			query := url.Values{"format": {"csv"}}
			if s.output == formatJSONL || s.output == formatJSON {
				query.Set("format", "jsonl")
			}
			if len(states) > 0 {
				query.Set("state", strings.Join(states, ","))
			}
			return s.download(cmd, given[0], "links", query, to, overwrite)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write to this file, readable by you alone")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file")
	cmd.Flags().StringSliceVar(&states, "state", nil, "of mailboxes in these states instead")
	return cmd
}

func (s *shell) exportCommand() *cobra.Command {
	var to string
	var overwrite bool
	cmd := &cobra.Command{
		Use: "export CAMPAIGN", Short: "Write a CSV of every mailbox with its state, its link or its reason", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return s.download(cmd, given[0], "export", url.Values{}, to, overwrite)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write to this file, readable by you alone")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file")
	return cmd
}

func (s *shell) download(cmd *cobra.Command, ref, what string, query url.Values, to string, overwrite bool) error {
	c, err := s.campaign(cmd, ref)
	if err != nil {
		return err
	}
	api, err := s.api()
	if err != nil {
		return err
	}
	w, err := s.target(to, overwrite)
	if err != nil {
		return err
	}
	s.tellOfAdmins(cmd.Context(), api, c)
	lines := query.Get("format") == "jsonl"
	out := &rows{to: w, array: lines && s.output == formatJSON}
	err = api.Download(cmd.Context(), "/campaigns/"+url.PathEscape(c.ID)+"/"+what, query, out)
	if err == nil {
		err = out.end()
	}
	if err = w.end(err); err != nil {
		return err
	}
	if n := out.lines; w.temp != nil {
		if !lines {
			n-- // the header
		}
		s.say("%d rows written to %s", n, plain(to))
	}
	return nil
}
