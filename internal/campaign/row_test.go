package campaign_test

import (
	"encoding/csv"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/campaign"
)

// rows reads a file that must be readable to its end.
func rows(t *testing.T, file string, r campaign.Rules) []campaign.Row {
	t.Helper()
	var all []campaign.Row
	for in := campaign.Read(strings.NewReader(file), r); ; {
		row, err := in.Next()
		if err == io.EOF { //nolint:errorlint // the contract is io.EOF itself
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
}

// one writes a file of one row with the given values and reads it.
func one(t *testing.T, r campaign.Rules, pairs ...string) campaign.Row {
	t.Helper()
	var names, values []string
	for i := 0; i < len(pairs); i += 2 {
		names, values = append(names, pairs[i]), append(values, pairs[i+1])
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	if err := w.WriteAll([][]string{names, values}); err != nil {
		t.Fatal(err)
	}
	all := rows(t, b.String(), r)
	if len(all) != 1 {
		t.Fatalf("%d rows", len(all))
	}
	return all[0]
}

func texts(problems []campaign.Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	return all
}

func TestOtherColumnsAreRefusedWithTheirReason(t *testing.T) {
	t.Parallel()
	offers := " (the account offers 1 Starter, 41 Business)"
	tariff := "the tariff plan is not a positive whole number" + offers
	unknownTariff := "the Warmy account does not offer this tariff plan" + offers
	for name, c := range map[string]struct{ column, value, want string }{
		"from_name of 5 KB":         {"from_name", strings.Repeat("x", 5<<10), "the value is longer than 4 KiB (shorten it)"},
		"from_name of 257 bytes":    {"from_name", strings.Repeat("x", 257), "the value is longer than 256 bytes (shorten it)"},
		"from_name with line break": {"from_name", "Bob\nBcc: x", "the value contains a line break (remove it)"},
		"from_name with escape":     {"from_name", "Bob\x1b[2J", "the value contains a control character (type it anew)"},
		"from_name turned around":   {"from_name", "Bob\u202eboB", "the value contains an invisible character (type it anew)"},
		"external_id with tab":      {"external_id", "a\tb", "the value contains a control character (type it anew)"},
		"tariff text":               {"tariff_plan_type_id", "gold", unknownTariff},
		"tariff 0":                  {"tariff_plan_type_id", "0", tariff},
		"tariff -1":                 {"tariff_plan_type_id", "-1", tariff},
		"tariff +1":                 {"tariff_plan_type_id", "+1", tariff},
		"tariff 4.5":                {"tariff_plan_type_id", "4.5", tariff},
		"tariff 1e20":               {"tariff_plan_type_id", "100000000000000000000", tariff},
		"tariff in other digits":    {"tariff_plan_type_id", "\u0664\u0661", unknownTariff},
		"unknown tariff":            {"tariff_plan_type_id", "42", unknownTariff},
		"unknown speed mode":        {"speed_mode", "turbo", "the speed mode is unknown (use slow, medium or fast)"},
		"unknown app":               {"app", "other", "the app is not configured (use one of main, Second)"},
		"misspelt app":              {"app", "mian", "the app is not configured (did you mean main?)"},
		"misspelt app by case":      {"app", "SECNOD", "the app is not configured (did you mean Second?)"},
		"unknown account":           {"account", "other", "the account is not configured (use one of main, eu)"},
		"tenant of one word":        {"tenant", "contoso", "the tenant is neither a GUID nor a domain (copy the directory (tenant) id from the Azure portal)"},
		"tenant as a path":          {"tenant", "../common.x", "the tenant is neither a GUID nor a domain (copy the directory (tenant) id from the Azure portal)"},
		"tenant GUID cut short":     {"tenant", "8eaef023-2b34-4da1-9baa-8bc8c9d6a49", "the tenant is neither a GUID nor a domain (copy the directory (tenant) id from the Azure portal)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := one(t, rules(), "email", "b@x.example", c.column, c.value)
			if diff := cmp.Diff([]string{"2:" + c.column + ": " + c.want}, texts(row.Problems)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppThatIsNoNameIsRefusedEvenIfNoneIsKnown(t *testing.T) {
	t.Parallel()
	r := rules()
	r.Apps = nil
	for _, app := range []string{"a.b", "a b", "*", ">", "-a", "ä", strings.Repeat("a", 65)} {
		row := one(t, r, "email", "b@x.example", "app", app)
		want := []string{"2:app: the app is not a valid name (use letters, digits, - and _, at most 64)"}
		if diff := cmp.Diff(want, texts(row.Problems)); diff != "" {
			t.Errorf("%q: %s", app, diff)
		}
	}
}

func TestRowWithoutValuesOrDefaultsSaysEverythingThatIsMissing(t *testing.T) {
	t.Parallel()
	want := []string{
		"2:email: the address has no @ (write it as name@domain)",
		"2:app: there is no app and no default (fill it in, or give the campaign a default)",
		"2:account: there is no account and no default (fill it in, or give the campaign a default)",
		"2:tariff_plan_type_id: there is no tariff plan and no default (fill it in, or give the campaign a default)",
		"2:speed_mode: there is no speed mode and no default (use slow, medium or fast)",
	}
	row := one(t, campaign.Rules{}, "email", "b")
	if diff := cmp.Diff(want, texts(row.Problems)); diff != "" {
		t.Error(diff)
	}
}

func TestRowIsNormalisedAndFilledFromDefaults(t *testing.T) {
	t.Parallel()
	file := "\xEF\xBB\xBFE-mail , from name,\" APP\",speed mode,Tenant,external-id\r\n"
	file = strings.Replace(file, "E-mail", "EMAIL", 1) +
		" Bob@X.example ,\" Bob, the \"\"first\"\" \",SECOND,FAST,8EAEF023-2B34-4DA1-9BAA-8BC8C9D6A490,=1\r\n" +
		",,,,,\n" +
		"\n" +
		"c@x.example,<b>=HYPERLINK()</b>,,,,\n"
	want := []campaign.Row{
		{
			Line: 2, Email: "bob@x.example", FromName: `Bob, the "first"`, App: "Second", Account: "main",
			Tenant: "8eaef023-2b34-4da1-9baa-8bc8c9d6a490", TariffPlanTypeID: 41, SpeedMode: "fast", ExternalID: "=1",
		},
		{Line: 5, Email: "c@x.example", FromName: "<b>=HYPERLINK()</b>", App: "main", Account: "main", TariffPlanTypeID: 41, SpeedMode: "fast"},
	}
	if diff := cmp.Diff(want, rows(t, file, rules())); diff != "" {
		t.Error(diff)
	}
}

func TestNamesOfAllScriptsAreKept(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Zoë Łukasz", "محمد\u200cرضا", "山田 太郎", "👩\u200d💻 Ada", "O'Brien & Söhne", "=1+1", "Владимир"} {
		row := one(t, rules(), "email", "b@x.example", "from_name", name)
		if row.FromName != name || !row.Usable() {
			t.Errorf("%q became %q, %v", name, row.FromName, row.Problems)
		}
	}
}

func TestRepeatedRowIsSkippedUnlessTheFirstWasRefused(t *testing.T) {
	t.Parallel()
	file := "email,app,tariff_plan_type_id\n" +
		"a@x.example,main,\n" +
		"a@x.example,main,\n" + // the same
		"A@X.EXAMPLE,,41\n" + // the same by case and default
		"a@x.example,second,\n" + // another app
		"b@x.example,main,0\n" + // refused
		"b@x.example,main,41\n" // its corrected copy
	var got []string
	for _, row := range rows(t, file, rules()) {
		got = append(got, texts(row.Problems)...)
		if row.Duplicate() != (row.Line == 3 || row.Line == 4) {
			t.Errorf("line %d: duplicate %v", row.Line, row.Duplicate())
		}
	}
	want := []string{
		"3:email: the same address and app stand in row 2 (skipped; remove one of the two)",
		"4:email: the same address and app stand in row 2 (skipped; remove one of the two)",
		"6:tariff_plan_type_id: the tariff plan is not a positive whole number (the account offers 1 Starter, 41 Business)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefusalByStoredStateHasItsWords(t *testing.T) {
	t.Parallel()
	for code, want := range map[campaign.Code]string{
		campaign.Duplicate:        "7:email: the same address and app stand in an earlier row (skipped; remove one of the two)",
		campaign.Erased:           "7:email: the mailbox was erased on request (ask the owner first; an operator with the admin role can lift it)",
		campaign.Suppressed:       "7:email: the address is on the suppression list (remove the row, or lift the suppression)",
		campaign.OtherTenant:      "7:email: the address is already known under another tenant (correct the tenant column, or erase the other mailbox first)",
		campaign.AlreadyInvited:   "7:email: the mailbox has a live link (skipped; choose refresh to replace the link)",
		campaign.AlreadyConnected: "7:email: the mailbox is already connected (skipped; nothing to do)",
		"else":                    "7:email: the row cannot be used (see the console)",
	} {
		if got := campaign.About(code, 7).String(); got != want {
			t.Errorf("%s: %s", code, got)
		}
	}
}

func TestProblemsNeverRepeatTheFile(t *testing.T) {
	t.Parallel()
	const canary = "zq7canary"
	for _, column := range []string{"email", "from_name", "app", "account", "tenant", "tariff_plan_type_id", "speed_mode", "external_id"} {
		pairs := []string{column, canary + "\x01"}
		if column != "email" {
			pairs = append(pairs, "email", "b@x.example")
		}
		row := one(t, rules(), pairs...)
		if row.Usable() || strings.Contains(strings.Join(texts(row.Problems), " "), canary) {
			t.Errorf("%s: %v", column, row.Problems)
		}
	}
	for _, file := range []string{canary, canary + "\n", "email," + canary + "\n", "email\n\"" + canary, "email\n" + canary + "\x00\n"} {
		if got := failure(t, strings.NewReader(file), rules()); got == "" || strings.Contains(got, canary) {
			t.Errorf("%q: %s", file, got)
		}
	}
}

func TestSurveyCountsWhatADryRunMustTell(t *testing.T) {
	t.Parallel()
	file := "email\na@x.example\na@x.example\ninfo@x.example\nb\ngone@x.example\n"
	s, err := campaign.Survey(campaign.Read(strings.NewReader(file), rules()), func(r *campaign.Row) {
		if r.Email == "gone@x.example" {
			r.Refuse(campaign.Erased)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	codes := map[campaign.Code]int{"duplicate": 1, "email_role": 1, "email_no_at": 1, "erased": 1}
	want := campaign.Summary{Rows: 5, Usable: 2, Refused: 2, Duplicates: 1, Warned: 1, ByCode: codes, SHA256: s.SHA256, Problems: s.Problems}
	if diff := cmp.Diff(want, s); diff != "" || len(s.Problems) != 4 || len(s.SHA256) != 64 {
		t.Errorf("%v %s", s.Problems, diff)
	}
}

func TestDefaultsAreJudgedLikeTheColumnsTheyStandFor(t *testing.T) {
	t.Parallel()
	rules := campaign.Rules{Apps: []string{"main"}, Accounts: []string{"agency"}, Plans: map[string]campaign.Plans{"agency": plans(41)}}
	for _, c := range []struct {
		given  campaign.Defaults
		column string
	}{
		{campaign.Defaults{}, ""},
		{campaign.Defaults{App: "Main", Account: "agency", Tenant: "Common", TariffPlanTypeID: 41, SpeedMode: "FAST"}, ""},
		{campaign.Defaults{Tenant: "contoso.example"}, ""},
		{campaign.Defaults{Tenant: "commmon"}, "tenant"},
		{campaign.Defaults{SpeedMode: "warp"}, "speed_mode"},
		{campaign.Defaults{TariffPlanTypeID: -1}, "tariff_plan_type_id"},
		{campaign.Defaults{Account: "agency", TariffPlanTypeID: 7}, "tariff_plan_type_id"},
		{campaign.Defaults{Account: "agency", TariffPlan: " starter "}, ""},
		{campaign.Defaults{Account: "agency", TariffPlan: "41"}, ""},
		{campaign.Defaults{Account: "agency", TariffPlan: "gold"}, "tariff_plan_type_id"},
		{campaign.Defaults{Account: "agency", TariffPlan: "7"}, "tariff_plan_type_id"},
		{campaign.Defaults{TariffPlan: "-7"}, "tariff_plan_type_id"},
		{campaign.Defaults{TariffPlan: "gold"}, ""}, // each row says of which account
		{campaign.Defaults{App: "mian"}, "app"},
		{campaign.Defaults{Account: "nobody"}, "account"},
	} {
		rules.Defaults = c.given
		found := rules.CheckDefaults()
		switch {
		case c.column == "" && len(found) != 0:
			t.Errorf("%+v: %v", c.given, found)
		case c.column != "" && (len(found) != 1 || found[0].Column != c.column || found[0].Remedy == ""):
			t.Errorf("%+v: %v", c.given, found)
		}
	}
}

func TestDefaultsOfAnyCaseFillRows(t *testing.T) {
	t.Parallel()
	reader := campaign.Read(strings.NewReader("email\nada@a.example\n"), campaign.Rules{
		Defaults: campaign.Defaults{App: "main", Account: "main", Tenant: "Contoso.Example", TariffPlanTypeID: 1, SpeedMode: "Fast"},
	})
	row, err := reader.Next()
	if err != nil || !row.Usable() || row.Tenant != "contoso.example" || row.SpeedMode != "fast" {
		t.Errorf("%+v %v", row, err)
	}
}
