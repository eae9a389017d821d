package sandbox

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"kindling/internal/console"
	"kindling/internal/mailbox"
)

// funnel shows how far a campaign is: one line, drawn again and again on a terminal, or a line every few seconds where
// the output is a file.
type funnel struct {
	out      io.Writer
	terminal bool
	started  time.Time
	shown    time.Time
	total    int
}

func newFunnel(out io.Writer, total int, now time.Time) *funnel {
	return &funnel{out: out, terminal: isTerminal(out), started: now, total: total}
}

// isTerminal reports whether out is a character device: what bars and colours are for.
func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// quietEvery is the pace of lines where nobody watches.
const quietEvery = 5 * time.Second

const barWidth = 24

// show draws the funnel as of now.
func (f *funnel) show(view console.CampaignView, now time.Time) {
	if !f.terminal && now.Sub(f.shown) < quietEvery {
		return
	}
	f.shown = now
	line := f.line(view, now)
	if f.terminal {
		fmt.Fprintf(f.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(f.out, line)
}

// end leaves the last state on the screen.
func (f *funnel) end(view console.CampaignView, now time.Time) {
	f.shown = time.Time{}
	f.show(view, now)
	if f.terminal {
		fmt.Fprintln(f.out)
	}
}

func (f *funnel) line(view console.CampaignView, now time.Time) string {
	by := view.Funnel.ByState
	registered := by[mailbox.StateRegistered]
	granted := registered + by[mailbox.StateGranted] + by[mailbox.StateRegistering] + by[mailbox.StateUnclear]
	consented := granted + by[mailbox.StateCodeReceived] + by[mailbox.StateRedeeming]
	trouble := by[mailbox.StateNeedsConsent] + by[mailbox.StateMismatch] + by[mailbox.StateDead]
	took := now.Sub(f.started)
	filled := min(barWidth, barWidth*registered/max(f.total, 1))
	return fmt.Sprintf("  %s%s  invited %d ▸ consented %d ▸ granted %d ▸ registered %d   trouble %d   %.1f/s   %s",
		strings.Repeat("█", filled), strings.Repeat("░", barWidth-filled),
		view.Funnel.Total, consented, granted, registered, trouble,
		float64(registered)/max(took.Seconds(), 1), took.Truncate(time.Second))
}

// settled reports whether nothing in the campaign will move by itself any more.
func settled(view console.CampaignView) bool {
	by := view.Funnel.ByState
	still := by[mailbox.StateRegistered] + by[mailbox.StateNeedsConsent] + by[mailbox.StateMismatch] + by[mailbox.StateDead] + by[mailbox.StateErased]
	return still == view.Funnel.Total
}
