package sandbox

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

// printTable says for every mailbox where it is and why: those that need somebody last, so that they stay on the screen.
func printTable(out io.Writer, mailboxes []console.MailboxView, cast Cast) error {
	rows := slices.Clone(mailboxes)
	slices.SortStableFunc(rows, func(a, b console.MailboxView) int {
		return stateOrder(a.State) - stateOrder(b.State)
	})
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "  MAILBOX\tSTATE\tWHERE AND WHY\tWHAT HELPS")
	for _, m := range rows {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", m.Address, m.State, why(m, cast), help(m))
	}
	return w.Flush()
}

func stateOrder(s mailbox.State) int {
	if s == mailbox.StateRegistered {
		return -1
	}
	return slices.Index(mailbox.States(), s)
}

func why(m console.MailboxView, cast Cast) string {
	if m.State != mailbox.StateRegistered {
		if m.Code != "" {
			return m.Code + ": " + m.Reason
		}
		return m.Reason
	}
	text := "at Warmy as " + m.WarmyID
	if plot, ok := cast[m.Address]; ok {
		text += ", although " + plot.Name
	}
	return text
}

func help(m console.MailboxView) string {
	if m.State == mailbox.StateRegistered {
		return "–"
	}
	return m.Remedy
}

// printCounts sums the table up.
func printCounts(out io.Writer, mailboxes []console.MailboxView) {
	counts := make(map[mailbox.State]int)
	for _, m := range mailboxes {
		counts[m.State]++
	}
	fmt.Fprintf(out, "\n  %d mailboxes:", len(mailboxes))
	for _, s := range mailbox.States() {
		if counts[s] > 0 {
			fmt.Fprintf(out, "  %d %s", counts[s], s)
		}
	}
	fmt.Fprintln(out)
}
