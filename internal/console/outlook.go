package console

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// Budget is what the configuration says of an account's calls.
type Budget struct {
	PerMinute int  // of the whole fleet; it holds until a first call tells the pace. 0: not paced
	Activates bool // a second call starts the warm-up of each new mailbox
}

// calls is how many calls so many new mailboxes take.
func (b Budget) calls(mailboxes int) int {
	if b.Activates {
		return 2 * mailboxes
	}
	return mailboxes
}

// ways are mailboxes by the way that they take, and by their states.
type ways map[roster.Way]map[mailbox.State]int

// coming counts what has still to pass Microsoft on its way to Warmy.
func coming(states map[mailbox.State]int) int {
	return states[mailbox.StateCodeReceived] + states[mailbox.StateRedeeming]
}

// here counts what waits for Warmy, in a queue, for its retry or for a listing.
func here(states map[mailbox.State]int) int { return toPost(states) + states[mailbox.StateUnclear] }

// toPost counts what waits for a POST of its own.
func toPost(states map[mailbox.State]int) int {
	return states[mailbox.StateGranted] + states[mailbox.StateRegistering]
}

// perPage is how many mailboxes Warmy lists on a page.
const perPage = 100

// listing is how many calls settle so many unclear mailboxes of an account, of which Warmy has the registered ones, too: one
// look-up for each, or the pages of one listing for all.
func listing(unclear, registered int) int {
	return min(unclear, (unclear+registered+perPage-1)/perPage)
}

// loaded completes the load of an account's leg. The queues count events, those of reconnects and of warm-ups among them; the
// facts count mailboxes, those that wait for their retry or are on their way among them, and tell what costs two calls.
func (c *Console) loaded(l leg.Leg, all ways) leg.Leg {
	account, ok := strings.CutPrefix(l.Name, leg.Name("warmy", ""))
	if !ok {
		return l
	}
	budget, states := c.cfg.Budgets[account], all.at(account)
	l.Coming += coming(states)
	l.Waiting = max(l.Waiting, here(states))
	l.Calls = l.Waiting - here(states) + callsFor(budget, states)
	if l.PerMinute == 0 {
		l.PerMinute = float64(budget.PerMinute)
	}
	if l.Seen.IsZero() {
		l.Seen = c.cfg.Now().UTC()
	}
	l.Load = l.Estimated(l.State)
	if settled := l.Seen.Add(c.cfg.ReconcileAfter).UTC(); states[mailbox.StateUnclear] > 0 && !l.DoneAt.IsZero() && l.DoneAt.Before(settled) {
		l.DoneAt = settled // no listing is believed before, however few calls it takes
	}
	return l
}

// callsFor is how many calls an account's new mailboxes take, by their states. Of those that are unclear the POSTs are made.
func callsFor(budget Budget, states map[mailbox.State]int) int {
	unclear := states[mailbox.StateUnclear]
	calls := budget.calls(toPost(states)+coming(states)) + listing(unclear, states[mailbox.StateRegistered])
	if budget.Activates {
		calls += unclear
	}
	return calls
}

// at counts an account's mailboxes by their states.
func (all ways) at(account string) map[mailbox.State]int {
	sum := map[mailbox.State]int{}
	for way, states := range all {
		if way.Account != account {
			continue
		}
		for state, n := range states {
			sum[state] += n
		}
	}
	return sum
}

// doneBy tells when all that is under way will be done at the latest: when everything is done that waits at the accounts on
// its ways, for campaigns share them. It is zero when nothing is under way, and when nobody can tell: a leg is not open, or
// its pace is not known.
func doneBy(legs []leg.Leg, all ways) (by time.Time) {
	for way, states := range all {
		onTheirWay := coming(states)
		if onTheirWay+here(states) == 0 {
			continue
		}
		at := legOf(legs, "warmy", way.Account).DoneAt
		if at.IsZero() || onTheirWay > 0 && legOf(legs, "microsoft", way.App).State != leg.Open {
			return time.Time{}
		}
		if at.After(by) {
			by = at
		}
	}
	return by
}

// legOf is a leg of the list; the zero one, which is not open, if it is not there: no worker has ever served it.
func legOf(legs []leg.Leg, kind, which string) leg.Leg {
	for _, l := range legs {
		if l.Name == leg.Name(kind, which) {
			return l
		}
	}
	return leg.Leg{}
}

// outlook tells when the whole pipeline will be empty: what is under way, and what else waits at the accounts.
func outlook(legs []leg.Leg, all ways) (by time.Time) {
	by = doneBy(legs, all)
	for _, l := range legs {
		if !l.Busy() {
			continue
		}
		if l.DoneAt.IsZero() || by.IsZero() && underWayAt(all) {
			return time.Time{}
		}
		if l.DoneAt.After(by) {
			by = l.DoneAt
		}
	}
	return by
}

func underWayAt(all ways) bool {
	for _, states := range all {
		if coming(states)+here(states) > 0 {
			return true
		}
	}
	return false
}

// prospects puts into a campaign's view the legs of the accounts that it uses, and when it will be done at the latest.
func (c *Console) prospects(view CampaignView, legs []leg.Leg) CampaignView {
	used := ways(c.roster.Ways(view.ID))
	for _, l := range legs {
		account, ok := strings.CutPrefix(l.Name, leg.Name("warmy", ""))
		uses := func(way roster.Way) bool { return way.Account == account }
		if ok && slices.ContainsFunc(slices.Collect(maps.Keys(used)), uses) {
			view.Legs = append(view.Legs, l)
		}
	}
	view.DoneBy = doneBy(legs, used)
	return view
}

// legsIfKnown are the legs for what is worth showing without them, too.
func (c *Console) legsIfKnown(ctx context.Context) []leg.Leg {
	legs, err := c.legs(ctx)
	if err != nil {
		c.cfg.Log.WarnContext(ctx, "legs_not_known", "error", err)
	}
	return legs
}

// ImportedAccount tells what an import asks of a Warmy account.
type ImportedAccount struct {
	Account   string  `json:"account"`
	Invited   int     `json:"invited"`              // new mailboxes for it
	Calls     int     `json:"calls"`                // that they take
	PerMinute float64 `json:"per_minute,omitempty"` // calls that the whole fleet may make now; 0: not paced, or not known
	Seconds   float64 `json:"seconds,omitempty"`    // that these calls take, once all have consented
	Leg       leg.Leg `json:"leg,omitzero"`         // what waits there already, of all campaigns; absent: no worker has ever served the account
}

// Words says what the import asks for, and what waits already. When the owners will consent nobody can know.
func (a ImportedAccount) Words(now time.Time) string {
	text := fmt.Sprintf("%s mailboxes", thousands(a.Invited))
	if a.Calls > a.Invited {
		text += fmt.Sprintf(" (%s calls)", thousands(a.Calls))
	}
	if a.Seconds > 0 {
		text += fmt.Sprintf(" at %.0f/min take %s once they have consented", a.PerMinute, span(a.Seconds))
	}
	if waits := a.Leg.Outlook(now); waits != "" {
		text += "; already there: " + waits
	}
	return text
}

// span words a time that is told in advance.
func span(seconds float64) string {
	switch minutes := math.Ceil(seconds / 60); {
	case seconds < 90:
		return fmt.Sprintf("%.0f s", math.Ceil(seconds))
	case minutes < 120:
		return fmt.Sprintf("%.0f min", math.Round(seconds/60))
	default:
		return fmt.Sprintf("%.1f h", seconds/3600)
	}
}

// asked tells what so many new mailboxes ask of each account.
func (c *Console) asked(ctx context.Context, invited map[string]int) []ImportedAccount {
	if len(invited) == 0 {
		return nil
	}
	legs := c.legsIfKnown(ctx)
	var all []ImportedAccount
	for _, account := range slices.Sorted(maps.Keys(invited)) {
		budget, current := c.cfg.Budgets[account], legOf(legs, "warmy", account)
		one := ImportedAccount{Account: account, Invited: invited[account], Calls: budget.calls(invited[account]), PerMinute: current.PerMinute, Leg: current}
		if one.PerMinute == 0 {
			one.PerMinute = float64(budget.PerMinute)
		}
		if one.PerMinute > 0 {
			one.Seconds = float64(one.Calls) / one.PerMinute * 60
		}
		all = append(all, one)
	}
	return all
}
