package campaign_test

import (
	"strings"
	"testing"
	"time"

	"kindling/internal/campaign"
)

func offered(list ...campaign.Plan) campaign.Plans {
	return campaign.Plans{LookedUp: time.Unix(1, 0), List: list}
}

func TestAPlanIsNamedByItsIDOrByItsName(t *testing.T) {
	t.Parallel()
	known := offered(
		campaign.Plan{ID: 1, Name: "Starter"}, campaign.Plan{ID: 41, Name: " Business  Plus "}, campaign.Plan{ID: 7, Name: "twice"},
		campaign.Plan{ID: 8, Name: "TWICE"}, campaign.Plan{ID: 9, Name: "2024"}, campaign.Plan{ID: 10, Name: "Größe <b>"}, campaign.Plan{ID: 11},
	)
	list := "the account offers 1 Starter, 41 Business Plus, 7 twice, 8 TWICE, 9 2024, 10, 11"
	for _, c := range []struct {
		plans  campaign.Plans
		given  string
		id     int
		code   campaign.Code
		remedy string
	}{
		{known, "41", 41, "", ""},
		{known, " 041 ", 41, "", ""},
		{known, "starter", 1, "", ""},
		{known, "  BUSINESS plus ", 41, "", ""},
		{known, "größe <b>", 10, "", ""},
		{known, "2024", 9, "", ""},
		{known, "", 5, "tariff_unknown", list}, // the campaign's default
		{known, "Twice", 0, "tariff_ambiguous", list},
		{known, "gold", 0, "tariff_unknown", list},
		{known, "0", 0, "tariff_invalid", list},
		{offered(), "1", 1, "tariff_unknown", "no plan at all"},
		{campaign.Plans{}, "5", 5, "", ""},
		{campaign.Plans{}, "", 5, "", ""},
		{campaign.Plans{}, "Starter", 0, "tariff_name_unknown", "use the id"},
		{campaign.Plans{}, "4.5", 0, "tariff_invalid", "use the id"},
		{campaign.Plans{}, "99999999999", 0, "tariff_invalid", "use the id"},
		{campaign.Plans{}, "1e999", 0, "tariff_invalid", "use the id"},
	} {
		r := rules()
		r.Defaults.TariffPlanTypeID, r.Plans = 5, map[string]campaign.Plans{"main": c.plans}
		row := one(t, r, "email", "a@x.example", "tariff_plan_type_id", c.given)
		if len(row.Problems) == 0 {
			row.Problems = append(row.Problems, campaign.Problem{})
		}
		got := row.Problems[0]
		if row.TariffPlanTypeID != c.id || got.Code != c.code || !strings.Contains(got.Remedy, c.remedy) {
			t.Errorf("%q of %d plans: %d, %+v", c.given, len(c.plans.List), row.TariffPlanTypeID, got)
		}
	}
}

func TestPlansAreThoseOfTheRowsOwnAccount(t *testing.T) {
	t.Parallel()
	r := rules()
	r.Defaults.TariffPlan, r.Defaults.TariffPlanTypeID = "business", 5
	r.Plans = map[string]campaign.Plans{"main": offered(campaign.Plan{ID: 41, Name: "Business"}), "eu": offered(campaign.Plan{ID: 3, Name: "Business"})}
	for account, want := range map[string]int{"": 41, "main": 41, "EU": 3} {
		if row := one(t, r, "email", "a@x.example", "account", account); row.TariffPlanTypeID != want || !row.Usable() {
			t.Errorf("account %q: %d, %v", account, row.TariffPlanTypeID, row.Problems)
		}
	}
}

func TestAListOfPlansIsShortAndPlain(t *testing.T) {
	t.Parallel()
	var many []campaign.Plan
	for i := range 500 {
		many = append(many, campaign.Plan{ID: i + 1, Name: strings.Repeat("x", i)})
	}
	if text := offered(many...).String(); len(text) > 500 || !strings.HasSuffix(text, "488 more") {
		t.Errorf("%d: %s", len(text), text)
	}
	for _, name := range []string{"=1+1", "<script>", "a\u202eb", "a\nb", "a,b", strings.Repeat("x", 31), "ключ", "\x1b[2J", "a@x.example"} {
		if text := offered(campaign.Plan{ID: 3, Name: name}).String(); text != "3" && text != "3 a b" {
			t.Errorf("%q is shown: %s", name, text)
		}
	}
}
