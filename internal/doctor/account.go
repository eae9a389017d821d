package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kindling/internal/app"
	"kindling/internal/config"
	"kindling/internal/fault"
	"kindling/internal/warmy"
)

// account makes one call at Warmy: the list of tariff plans, which needs the credentials and changes nothing.
func (d Doctor) account(ctx context.Context, cfg config.Config, a config.Account) []Finding {
	r := report{area: areaAccount}
	if d.Role&config.WarmyWorker == 0 {
		r.skip(a.Name, d.Process+" holds no credentials of Warmy; run this where warmy-worker runs")
		return r.list
	}
	if a.Auth == config.AuthSession {
		r.skip(a.Name, "a call would renew the session's access-token, and a worker that runs would be left with an old one")
		return r.list
	}
	signed, err := app.WarmyAccount(a)
	if err != nil || signed.APIKey.Empty() {
		r.skip(a.Name, "there are no credentials to try; see the area configuration")
		return r.list
	}
	client := warmy.New(warmy.Config{Accounts: []warmy.Account{signed}, Transport: d.Transport, Timeout: askLimit, Now: d.Now})
	plans, err := client.Plans(ctx, a.Name)
	if err != nil {
		refusedAccount(&r, a.Name, fault.Of(err))
		return r.list
	}
	r.ok(a.Name, "Warmy accepts the credentials")
	d.tariff(&r, cfg, a, plans)
	return r.list
}

func refusedAccount(r *report, name string, f *fault.Fault) {
	switch {
	case f.Outage || f.Class == fault.Unclear || f.Code == "warmy_not_sent":
		r.away(name, f.Cause, "look at the network and at Warmy's status; nothing was learned of the credentials")
	case f.Class == fault.RetryAfter:
		r.warn(name, f.Cause+"; nothing was learned of the credentials", "run this again in a minute; lower calls_per_minute if others use the account too")
	case f.Class == fault.LegDown:
		r.wrong(name, f.Cause, f.Remedy)
	default:
		r.add(Fail, Other, name, "Warmy's answer to the question for the tariff plans cannot be read", "check base_url, and what stands in between")
	}
}

// tariff looks whether the default plan is one of this account. The names of plans are Warmy's texts, so numbers are shown.
func (d Doctor) tariff(r *report, cfg config.Config, a config.Account, plans []warmy.Plan) {
	want := cfg.Defaults.TariffPlanTypeID
	if a.Name != cfg.Defaults.Account || want == 0 {
		return
	}
	subject := a.Name + " tariff plan"
	if slices.ContainsFunc(plans, func(p warmy.Plan) bool { return p.ID == want }) {
		r.ok(subject, fmt.Sprintf("defaults.tariff_plan_type_id %d is one of this account's", want))
		return
	}
	const most = 20
	var ids []string
	for _, p := range plans[:min(len(plans), most)] {
		ids = append(ids, strconv.Itoa(p.ID))
	}
	r.warn(subject, fmt.Sprintf("defaults.tariff_plan_type_id %d is none of this account's: Warmy would refuse every mailbox of it", want),
		"this account has "+strings.Join(ids, ", ")+"; campaigns may name their own")
}
