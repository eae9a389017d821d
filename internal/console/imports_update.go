package console

import (
	"cmp"
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"kindling/internal/campaign"
	"kindling/internal/console/roster"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// correctable reports whether the row brings new values that its mailbox can take: the same campaign put right, and
// nothing under way that may have used the old ones. A row of another account changes nothing: its plan is that account's.
func correctable(row campaign.Row, known roster.Item, into string) bool {
	return known.Campaign == into && row.Account == known.Account && mayCorrect(known.Status.State) && differentValues(row, known)
}

func mayCorrect(s mailbox.State) bool {
	switch s {
	case mailbox.StateInvited, mailbox.StateNeedsConsent, mailbox.StateMismatch, mailbox.StateDead, mailbox.StateCodeReceived:
		return true
	case mailbox.StateRedeeming, mailbox.StateGranted, mailbox.StateRegistering, mailbox.StateUnclear, mailbox.StateRegistered, mailbox.StateErased:
	}
	return false
}

func differentValues(row campaign.Row, known roster.Item) bool {
	return row.TariffPlanTypeID != known.TariffPlanTypeID || row.SpeedMode != known.SpeedMode ||
		row.ExternalID != "" && row.ExternalID != known.ExternalID || row.FromName != "" && !known.FromNameIs(row.FromName)
}

// corrected puts the row's values into an invitation. A cell left empty keeps what is there.
func corrected(inv mailbox.Invitation, row campaign.Row) mailbox.Invitation {
	inv.TariffPlanTypeID, inv.SpeedMode = row.TariffPlanTypeID, row.SpeedMode
	inv.ExternalID, inv.FromName = cmp.Or(row.ExternalID, inv.ExternalID), cmp.Or(row.FromName, inv.FromName)
	return inv
}

// parallelUpdates bounds the changes of known mailboxes that are stored at the same time.
const parallelUpdates = 16

// update stores the queued changes of known mailboxes.
func (m *importer) update(ctx context.Context) error {
	rows := m.changed
	m.changed = nil
	outcomes := make([]error, len(rows))
	if !m.report.DryRun {
		var group errgroup.Group
		group.SetLimit(parallelUpdates)
		for i, row := range rows {
			group.Go(func() error {
				outcomes[i] = m.c.correct(ctx, m.c.cfg.Links.Mailbox(row.App, row.Email), row)
				return nil
			})
		}
		_ = group.Wait() // each outcome is looked at below
	}
	for i, row := range rows {
		if err := m.updated(row, outcomes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *importer) updated(row campaign.Row, outcome error) error {
	known, _ := m.c.roster.Mailbox(m.c.cfg.Links.Mailbox(row.App, row.Email))
	switch {
	case errors.Is(outcome, handlers.ErrConflict):
		return m.notStored(row)
	case errors.Is(outcome, errErased):
		row.Refuse(campaign.Erased)
		return m.refused(row)
	case outcome != nil:
		return errUnavailable(outcome)
	}
	m.report.Updated++
	m.report.Warned += min(1, len(row.Warnings))
	m.keep(row.Warnings...)
	res := m.c.result(known)
	res.Status = "updated"
	return m.tell(res, row)
}

var errErased = errors.New("the mailbox was erased meanwhile")

// correct stores a row's values by compare-and-set. The link and its generation stay what they are.
func (c *Console) correct(ctx context.Context, id mailbox.ID, row campaign.Row) error {
	for range 10 {
		inv, revision, err := c.cfg.Invitations.Load(ctx, id)
		if err != nil {
			return err
		}
		if !inv.ErasedAt.IsZero() {
			return errErased
		}
		inv = corrected(inv, row)
		_, err = c.cfg.Invitations.Save(ctx, id, inv, revision)
		if err == nil {
			c.roster.Invitation(inv)
			return nil
		}
		if !errors.Is(err, handlers.ErrConflict) {
			return err
		}
	}
	return handlers.ErrConflict
}
