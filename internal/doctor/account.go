package doctor

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/campaign"
	"kindling/internal/config"
	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/seal"
	"kindling/internal/warmy"
)

// workspace is one Warmy account under examination.
type workspace struct {
	report

	doctor Doctor
	config config.Config
	config.Account

	signed warmy.Account
	store  *app.Store      // of the workers, whose budget and session it shares; nil: out of reach
	pace   bus.AccountPace // with store
	queue  *queue          // with store
	leg    leg.Leg         // with store; not open: what holds it
}

// account makes one call at Warmy: the list of tariff plans, which needs the credentials and changes nothing. With the
// workers' store it takes its turn among their calls.
func (d Doctor) account(ctx context.Context, cfg config.Config, a config.Account) []Finding {
	x := &workspace{report: report{area: areaAccount}, doctor: d, config: cfg, Account: a}
	if d.Role&config.WarmyWorker == 0 {
		x.skip(a.Name, d.Process+" holds no credentials of Warmy; run this where warmy-worker runs")
		return x.list
	}
	var err error
	x.signed, err = app.WarmyAccount(a)
	if err != nil || !provable(x.signed) {
		x.skip(a.Name, "there are no credentials to try; see the area configuration")
		return x.list
	}
	x.open(ctx)
	if x.store != nil {
		defer func() { _ = x.store.Close() }()
		x.readLeg(ctx)
		x.budget(ctx)
	}
	if x.leg.Code == leg.HeldByOperator {
		x.skip(x.Name, "an operator holds the leg, so Warmy was not asked, and nothing was learned of the credentials")
		return x.list
	}
	x.ask(ctx)
	return x.list
}

// provable reports whether there is anything to sign a call with.
func provable(a warmy.Account) bool {
	if a.Auth == warmy.Session {
		return !a.AccessToken.Empty() || signsIn(a)
	}
	return !a.APIKey.Empty()
}

func signsIn(a warmy.Account) bool { return !a.Email.Empty() && !a.Password.Empty() }

// open reaches for the store that the workers share. Whether it is there, and right, is the area nats' to say.
func (x *workspace) open(ctx context.Context) {
	if x.doctor.Pre || x.config.NATS.URL == "" {
		return
	}
	store, err := app.OpenStoreAs(ctx, x.config, x.doctor.Data, bus.ProcessWarmyWorker, x.doctor.Log)
	if err != nil {
		return
	}
	if _, err := store.PaceOf(ctx, x.Name); err != nil { // such as before the first start
		_ = store.Close()
		return
	}
	x.store = store
}

// readLeg reads the account's leg, and warns when it is not open. One that a fault holds does not keep the doctor from asking:
// whether that is mended is what its call shows.
func (x *workspace) readLeg(ctx context.Context) {
	name := leg.Name("warmy", x.Name)
	legs, err := x.store.Legs().Of(ctx, name)
	if err != nil {
		x.skip(x.Name+" leg", "it cannot be read, so whether somebody holds it is not known")
		return
	}
	x.leg = legs[0]
	subject, by := x.Name+" leg", "by the "+x.leg.By
	remedy := "kindling leg release " + name + " when it may be called again"
	switch {
	case x.leg.State == leg.Open:
		return
	case x.leg.Code == leg.HeldByOperator:
		by = "by the operator " + x.leg.By
	case x.leg.State == leg.Probing:
		remedy = "none: one delivery finds out whether it is over (docs/runbooks/leg-held.md)"
	default:
		remedy = "put right what the cause says, or " + remedy + " (docs/runbooks/leg-held.md)"
	}
	x.warn(subject, fmt.Sprintf("%s is %s %s since %s: %s", name, x.leg.State, by, leg.Clock(x.leg.Since, x.leg.Seen), x.leg.Cause), remedy)
}

// budget tells how many of the account's calls are left, and what keeps the workers from making all: the whole fleet's pace,
// by the server's clock.
func (x *workspace) budget(ctx context.Context) {
	subject := x.Name + " budget"
	pace, err := x.store.PaceOf(ctx, x.Name)
	if err != nil {
		return
	}
	x.pace = pace
	const remedy = "none: it passes by itself; lower calls_per_minute if others use the account, too (docs/runbooks/warmy-pace-reduced.md)"
	calls := fmt.Sprintf("%d calls a minute", x.CallsPerMinute)
	reduced := pace.Part > 0 && pace.Part < 1
	if reduced {
		calls = fmt.Sprintf("%.0f of %.0f calls a minute, because Warmy answered 429 again and again; the pace rises an eighth in each minute without",
			pace.PerMinute, pace.PerMinute/pace.Part)
	}
	switch {
	case !pace.Until.IsZero():
		x.warn(subject, calls+"; Warmy asked for a pause (429): nobody calls before "+leg.Clock(pace.Until, pace.Now), remedy)
	case reduced:
		x.warn(subject, calls+"; "+x.remaining(), remedy)
	default:
		x.ok(subject, calls+"; "+x.remaining())
	}
}

// remaining tells how many calls of the next minute are left beside the work that waits: the workers space calls evenly, so that
// what they do not use is not saved up.
func (x *workspace) remaining() string {
	minute := int(math.Round(cmp.Or(x.pace.PerMinute, float64(x.CallsPerMinute))))
	if minute <= 0 {
		return "not paced"
	}
	var text string
	if x.leg.Name == "" {
		text = "what waits could not be read"
	} else {
		text = fmt.Sprintf("of the next minute's %d calls %d are left beside the %d mailboxes that wait, if each takes one",
			minute, max(0, minute-x.leg.Waiting), x.leg.Waiting)
	}
	if x.pace.End.IsZero() {
		return text + "; none has been made yet"
	}
	return text + fmt.Sprintf("; the last one was made %s ago", max(0, x.pace.Now.Sub(x.pace.End)).Round(time.Second))
}

// queue is the workers' pace, in which it is told whether a call was kept from beginning: then nothing was asked, and nothing
// is wrong at Warmy.
type queue struct {
	*bus.Pacer

	full atomic.Bool
}

// Wait returns when the call may begin.
func (q *queue) Wait(ctx context.Context, account string) error {
	err := q.Pacer.Wait(ctx, account)
	if err != nil && ctx.Err() != nil {
		q.full.Store(true)
	}
	return err // as the Pacer says it
}

// client makes calls as the workers do: in their pace and session if their store can be reached.
func (x *workspace) client() (client *warmy.Client, why string) {
	cfg := warmy.Config{Accounts: []warmy.Account{x.signed}, Transport: x.doctor.Transport, Timeout: askLimit, Now: x.doctor.Now}
	if x.store != nil {
		x.queue = &queue{Pacer: x.store.Pacer(map[string]int{x.Name: x.CallsPerMinute})}
		cfg.Pace = x.queue
	}
	if x.signed.Auth != warmy.Session {
		return warmy.New(cfg), ""
	}
	box, err := seal.OpenGrants(x.config.Keys.Dir)
	switch {
	case x.store != nil && err == nil:
		cfg.Sessions = x.store.Sessions(box)
	case !signsIn(x.signed):
		return nil, "the workers' session is out of reach, and a call would change its access-token under them"
	}
	return warmy.New(cfg), ""
}

// ask makes the call.
func (x *workspace) ask(ctx context.Context) {
	client, why := x.client()
	if client == nil {
		x.skip(x.Name, why)
		return
	}
	began := time.Now()
	if deadline, ok := ctx.Deadline(); ok && x.pace.Until.Sub(x.pace.Now) > time.Until(deadline) {
		x.skip(x.Name, x.crowded(0)) // waiting would be in vain
		return
	}
	plans, err := client.Plans(ctx, x.Name)
	x.clock(client.Clock(x.Name))
	if err != nil && x.queue != nil && x.queue.full.Load() {
		x.skip(x.Name, x.crowded(time.Since(began)))
		return
	}
	if err != nil {
		x.refused(fault.Of(err))
		return
	}
	x.ok(x.Name, "Warmy accepts the credentials and the holder_uid")
	x.tariff(campaign.Plans{List: plans})
}

// crowded says why no call was made.
func (x *workspace) crowded(waited time.Duration) string {
	const unasked = "so Warmy was not asked, and nothing was learned of the credentials"
	if until := x.pace.Until; !until.IsZero() {
		return fmt.Sprintf("Warmy asked for a pause (429), %s: run this again after %s", unasked, leg.Clock(until, x.pace.Now))
	}
	return fmt.Sprintf("the account's call budget had no room in %s, %s: run this again when the workers have less to do", waited.Round(time.Second), unasked)
}

func (x *workspace) refused(f *fault.Fault) {
	switch {
	case f.Outage || f.Class == fault.Unclear || f.Code == "warmy_not_sent":
		x.away(x.Name, f.Cause, "look at the network and at Warmy's status; nothing was learned of the credentials")
	case f.Class == fault.RetryAfter:
		x.warn(x.Name, f.Cause+"; nothing was learned of the credentials", "run this again in a minute; lower calls_per_minute if others use the account too")
	case f.Code == "warmy_403":
		x.wrong(x.Name, "Warmy accepts the credentials, but not for this holder_uid or not for this call (403); or something in between blocks the call",
			"set holder_uid to the workspace id that Warmy shows beside the API key; check the key's permissions; look for a challenge page")
	case f.Class == fault.LegDown:
		x.wrong(x.Name, f.Cause, f.Remedy)
	default:
		x.add(Fail, Other, x.Name, "Warmy's answer to the question for the tariff plans cannot be read", "check base_url, and what stands in between")
	}
}

// tariff tells the account's plans, and whether the default one is among them. Of their names, which are Warmy's texts, the
// plain ones are shown.
func (x *workspace) tariff(plans campaign.Plans) {
	if len(plans.List) == 0 {
		x.warn(x.Name+" tariff plans", "the account has no tariff plan: Warmy would refuse every mailbox", "look at the account at Warmy")
		return
	}
	x.ok(x.Name+" tariff plans", "the account offers "+plans.String())
	want := x.config.Defaults.TariffPlanTypeID
	if x.Name != x.config.Defaults.Account || want == 0 {
		return
	}
	subject := x.Name + " tariff plan"
	if plans.Offers(want) {
		x.ok(subject, fmt.Sprintf("defaults.tariff_plan_type_id %d is one of this account's", want))
		return
	}
	x.warn(subject, fmt.Sprintf("defaults.tariff_plan_type_id %d is none of this account's: Warmy would refuse every mailbox of it", want),
		"this account has "+plans.String()+"; campaigns may name their own")
}

// clock compares this machine's clock with Warmy's. The pace does not go by it, but by that of NATS.
func (x *workspace) clock(c warmy.Clock) {
	subject := x.Name + " clock"
	switch off := c.Offset(); {
	case !c.Known():
		x.skip(subject, "Warmy's answer did not tell the time, or there was none")
	case off.Abs() > clockWarn:
		x.warn(subject, fmt.Sprintf("this machine's clock and Warmy's differ by %s: when tokens and codes end is judged by it, so that dead ones are sent, or living ones given up", off.Abs().Round(time.Second)),
			"set the clock, and keep it right with NTP (chrony, systemd-timesyncd)")
	default:
		x.ok(subject, "this machine's clock agrees with Warmy's")
	}
}
