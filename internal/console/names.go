package console

import (
	"slices"
	"strings"

	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// checkNames refuses names that nothing has, as campaignIDs does: nothing found would read as good news. An app or
// account that was taken out of the configuration is known as long as a mailbox has it.
func (c *Console) checkNames(apps, accounts, reasons []string) error {
	for _, app := range apps {
		if len(c.cfg.Apps) > 0 && !slices.Contains(c.cfg.Apps, app) && !c.anybody(roster.Filter{Apps: []string{app}}) {
			return errUnknown("app", c.cfg.Apps)
		}
	}
	for _, account := range accounts {
		if len(c.cfg.Accounts) > 0 && !slices.Contains(c.cfg.Accounts, account) && !c.anybody(roster.Filter{Accounts: []string{account}}) {
			return errUnknown("account", c.cfg.Accounts)
		}
	}
	if slices.ContainsFunc(reasons, func(v string) bool { return !slices.Contains(mailbox.Reasons(), v) }) {
		return errUnknown("reason", mailbox.Reasons())
	}
	return nil
}

func (c *Console) anybody(f roster.Filter) bool {
	found, _ := c.roster.List(f, "", 1)
	return len(found) > 0
}

func errUnknown[T ~string](what string, known []T) *Problem {
	return errBadRequest("unknown_"+what, "the "+what+" is unknown", oneOf(known))
}

// oneOf is the remedy for a value that is none of these.
func oneOf[T ~string](known []T) string {
	return "use one of " + strings.Join(texts(known), ", ")
}

func texts[T ~string](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}
