package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// ImportReport says what became of a campaign's file.
type ImportReport struct {
	Campaign   string                `json:"campaign"` // id; the same name gives the same id
	Name       string                `json:"name"`
	DryRun     bool                  `json:"dry_run"`
	Rows       int                   `json:"rows"`
	Invited    int                   `json:"invited"`    // new mailboxes; with dry_run: those that would be
	Known      int                   `json:"known"`      // were invited before and stay as they are
	Updated    int                   `json:"updated"`    // were invited before and took new values; with dry_run: those that would
	Refused    int                   `json:"refused"`    // rows with a problem
	Duplicates int                   `json:"duplicates"` // rows that repeat an earlier one
	Failed     int                   `json:"failed"`     // rows that could not be stored: import the file again
	Warned     int                   `json:"warned"`     // usable rows with a warning
	ByCode     map[campaign.Code]int `json:"by_code"`
	Problems   []campaign.Problem    `json:"problems"` // the first 1,000; the CSV answer lists all
	File       *campaign.Problem     `json:"file,omitempty"`
	Unchecked  []string              `json:"unchecked,omitempty"` // accounts whose plans are not known yet: their rows' ids were taken as they are
	Accounts   []ImportedAccount     `json:"accounts,omitempty"`  // what the new mailboxes ask of their accounts, once all have consented
	SHA256     string                `json:"sha256,omitempty"`
	Seconds    float64               `json:"seconds"`
}

// Complete reports whether every row is a mailbox now.
func (r ImportReport) Complete() bool { return r.File == nil && r.Refused == 0 && r.Failed == 0 }

const (
	importBatch     = 500
	reportProblems  = 1000
	mostUnchecked   = 100
	mostAccounts    = 100
	codeStoreFailed = campaign.Code("not_stored")
	codeDiffers     = campaign.Code("differs")
	codeElsewhere   = campaign.Code("other_campaign")
	codeOtherApp    = campaign.Code("other_app")
)

// importer is one import under way.
type importer struct {
	c       *Console
	report  ImportReport
	created mailbox.Campaign
	batch   []mailbox.Invitation
	fresh   map[mailbox.ID]string       // the accounts of all new mailboxes, where there is more than one app
	plans   map[string]campaign.Plans   // as far as known
	invited map[string]int              // new mailboxes, by their accounts; as many accounts as are told
	changed []campaign.Row              // known mailboxes' rows whose values are to be taken
	results func(campaign.Result) error // takes what became of each row; nil: nobody wants to know
}

// importFile reads the file to its end and invites its rows, in batches. Rows before the place where a broken file ends
// are invited: importing the mended file finds them known.
func (c *Console) importFile(ctx context.Context, file io.Reader, rules campaign.Rules, m *importer) error {
	started := c.cfg.Now()
	m.c, m.plans, m.report.ByCode, m.invited, m.fresh = c, rules.Plans, map[campaign.Code]int{}, map[string]int{}, map[mailbox.ID]string{}
	m.report.Campaign, m.report.Name = m.created.ID, m.created.Name
	reader := campaign.Read(file, rules)
	err := m.run(ctx, reader)
	m.report.Seconds = c.cfg.Now().Sub(started).Seconds()
	m.report.Accounts = c.asked(ctx, m.invited)
	if broken := (*campaign.FileError)(nil); errors.As(err, &broken) {
		m.report.File = &broken.Problem
		return nil
	}
	m.report.SHA256 = reader.Sum()
	return err
}

func (m *importer) run(ctx context.Context, reader *campaign.Reader) error {
	for {
		row, err := reader.Next()
		if err != nil {
			flushErr := m.flush(ctx)
			if errors.Is(err, io.EOF) {
				return flushErr
			}
			return errors.Join(flushErr, err)
		}
		if err := m.row(row); err != nil {
			return err
		}
		if len(m.batch)+len(m.changed) < importBatch {
			continue
		}
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
}

// row judges one row against what is known and queues it if it is new.
func (m *importer) row(row campaign.Row) error {
	m.report.Rows++
	if !row.Usable() {
		return m.refused(row)
	}
	if !events.IsToken(row.App) || !events.IsToken(row.Account) {
		return m.refuse(row, campaign.Problem{
			Line: row.Line, Column: "app", Code: "name_invalid", Reason: "the app's or the account's name is not a valid one",
			Remedy: "use lower-case letters, digits, - and _",
		})
	}
	if _, checked := m.plans[row.Account]; !checked && !slices.Contains(m.report.Unchecked, row.Account) && len(m.report.Unchecked) < mostUnchecked {
		m.report.Unchecked = append(m.report.Unchecked, row.Account)
	}
	id := m.c.cfg.Links.Mailbox(row.App, row.Email)
	if known, ok := m.c.roster.Mailbox(id); ok {
		return m.known(row, known)
	}
	if twin, found := m.twin(row); found {
		row.Warnings = append(row.Warnings, twin)
	}
	m.report.Warned += min(1, len(row.Warnings))
	m.keep(row.Warnings...)
	m.batch = append(m.batch, m.invitation(id, row))
	if len(m.c.cfg.Apps) > 1 {
		m.fresh[id] = row.Account
	}
	return nil
}

func (m *importer) invitation(id mailbox.ID, row campaign.Row) mailbox.Invitation {
	now := m.c.cfg.Now().UTC().Truncate(time.Millisecond)
	const generation = 1
	return mailbox.Invitation{
		ID: id, Campaign: m.created.ID, App: row.App, Account: row.Account, Tenant: row.Tenant, Address: row.Email,
		FromName: row.FromName, ExternalID: row.ExternalID, TariffPlanTypeID: row.TariffPlanTypeID, SpeedMode: row.SpeedMode,
		Line: row.Line, LinkGeneration: generation, LinkHash: mailbox.Hash(m.c.cfg.Links.Link(id, generation)),
		InvitedAt: now, LinkExpiresAt: now.Add(m.c.cfg.LinkLife),
	}
}

// flush stores the queued rows: new ones first, for one that turns out to be known may be queued as a change.
func (m *importer) flush(ctx context.Context) error {
	if err := m.create(ctx); err != nil {
		return err
	}
	return m.update(ctx)
}

func (m *importer) create(ctx context.Context) error {
	if len(m.batch) == 0 {
		return nil
	}
	batch := m.batch
	m.batch = m.batch[:0]
	outcomes := make([]error, len(batch))
	if !m.report.DryRun {
		var err error
		if outcomes, err = m.c.cfg.Invitations.Create(ctx, batch); err != nil {
			return errUnavailable(err)
		}
	}
	for i, inv := range batch {
		if err := m.stored(ctx, inv, outcomes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *importer) stored(ctx context.Context, inv mailbox.Invitation, outcome error) error {
	row := campaign.Row{
		Line: inv.Line, Email: inv.Address, ExternalID: inv.ExternalID, App: inv.App, Account: inv.Account, FromName: inv.FromName,
		TariffPlanTypeID: inv.TariffPlanTypeID, SpeedMode: inv.SpeedMode, Tenant: inv.Tenant,
	}
	switch {
	case outcome == nil:
		m.report.Invited++
		if _, known := m.invited[inv.Account]; known || len(m.invited) < mostAccounts {
			m.invited[inv.Account]++
		}
		if !m.report.DryRun {
			m.c.roster.Invitation(inv)
		}
		return m.tell(campaign.Result{Status: string(mailbox.StateInvited), Link: m.link(inv.ID, inv.LinkGeneration)}, row)
	case errors.Is(outcome, handlers.ErrConflict):
		existing, _, err := m.c.cfg.Invitations.Load(ctx, inv.ID)
		if err != nil {
			return errUnavailable(err)
		}
		m.c.roster.Invitation(existing)
		known, _ := m.c.roster.Mailbox(inv.ID)
		return m.known(row, known)
	}
	return m.notStored(row)
}

func (m *importer) notStored(row campaign.Row) error {
	m.report.Failed++
	p := campaign.Problem{Line: row.Line, Code: codeStoreFailed, Reason: "it is unknown whether the row was stored", Remedy: "import the file again"}
	m.keep(p)
	return m.tell(campaign.Result{Status: "failed", Reason: p.Reason, Remedy: p.Remedy}, row)
}

func (m *importer) link(id mailbox.ID, generation int) string {
	if m.report.DryRun {
		return ""
	}
	return m.c.cfg.linkURL(id, generation).Reveal()
}

func (m *importer) refuse(row campaign.Row, p campaign.Problem) error {
	row.Problems = append(row.Problems, p)
	return m.refused(row)
}

func (m *importer) refused(row campaign.Row) error {
	if row.Duplicate() {
		m.report.Duplicates++
	} else {
		m.report.Refused++
	}
	m.keep(row.Problems...)
	if m.results == nil {
		return nil
	}
	return m.results(campaign.Refused(row))
}

func (m *importer) keep(problems ...campaign.Problem) {
	for _, p := range problems {
		m.report.ByCode[p.Code]++
		if len(m.report.Problems) < reportProblems {
			m.report.Problems = append(m.report.Problems, p)
		}
	}
}

// tell hands out what became of a row.
func (m *importer) tell(res campaign.Result, row campaign.Row) error {
	if m.results == nil {
		return nil
	}
	res.Line, res.Email, res.ExternalID, res.App, res.Account = row.Line, row.Email, row.ExternalID, row.App, row.Account
	if err := m.results(res); err != nil {
		return fmt.Errorf("keep result: %w", err)
	}
	return nil
}
