package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/campaign"
	"kindling/internal/console"
	"kindling/internal/console/consoletest"
)

func knownPlans(list ...campaign.Plan) campaign.Plans {
	return campaign.Plans{LookedUp: time.Unix(1, 0), List: list}
}

func TestAPlanIsImportedByItsNameAndCheckedAgainstItsAccount(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	w.Plans.Put("main", knownPlans(campaign.Plan{ID: 41, Name: "Business"}, campaign.Plan{ID: 1, Name: "Starter"}))
	w.Plans.Put("other", knownPlans(campaign.Plan{ID: 3, Name: "Business"}))
	report := importCSV(t, w, "Spring", "email,account,tariff_plan_type_id\na@a.example,,business\nb@a.example,other,Business\nc@a.example,,3\nd@a.example,,\ne@a.example,other,\n")
	if report.Invited != 3 || report.Refused != 2 || report.ByCode["tariff_unknown"] != 2 || report.Unchecked != nil {
		t.Errorf("report = %+v", report)
	}
	for _, p := range report.Problems {
		if p.Line == 4 && p.Remedy != "the account offers 41 Business, 1 Starter" {
			t.Errorf("%v", p)
		}
	}
	for address, want := range map[string]int{"a@a.example": 41, "b@a.example": 3, "d@a.example": 41} {
		if inv, _, _ := w.Invitations.Load(t.Context(), w.Links.Mailbox("main", address)); inv.TariffPlanTypeID != want {
			t.Errorf("%s: plan %d, want %d", address, inv.TariffPlanTypeID, want)
		}
	}
	var byName console.ImportReport
	call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=May&tariff_plan_type_id=+STARTER+", "email\nf@a.example\n", "Content-Type", "text/csv").decode(t, &byName)
	if inv, _, _ := w.Invitations.Load(t.Context(), w.Links.Mailbox("main", "f@a.example")); byName.Invited != 1 || inv.TariffPlanTypeID != 1 {
		t.Errorf("%+v %+v", byName, inv)
	}
	for _, plan := range []string{"gold", "3", "0", "-1"} {
		p := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=May&tariff_plan_type_id="+plan, "email\nf@a.example\n", "Content-Type", "text/csv").problem(t)
		if p.Status != http.StatusBadRequest || p.Code != "bad_default" || !strings.Contains(p.Remedy, "41 Business, 1 Starter") {
			t.Errorf("%s: %+v", plan, p)
		}
	}
}

func TestWithoutKnownPlansIDsAreTakenAndNamesAreNot(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	w.Plans.Put("other", knownPlans(campaign.Plan{ID: 3, Name: "Business"}))
	report := importCSV(t, w, "Spring", "email,account,tariff_plan_type_id\na@a.example,,77\nb@a.example,,Business\nc@a.example,other,3\nd@a.example,,\n")
	if diff := cmp.Diff([]string{"main"}, report.Unchecked); diff != "" || report.Invited != 3 || report.ByCode["tariff_name_unknown"] != 1 {
		t.Errorf("%+v %s", report, diff)
	}
	page := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Spring", "email,tariff_plan_type_id\nz@a.example,77\n", "Content-Type", "text/csv", "Accept", "text/csv")
	if !strings.Contains(page.header.Get(console.ReportHeader), `"unchecked":["main"]`) {
		t.Errorf("%s", page.header.Get(console.ReportHeader))
	}
	w.Plans.SwitchOff()
	if p := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=May", "email\nf@a.example\n", "Content-Type", "text/csv").problem(t); p.Status != http.StatusServiceUnavailable {
		t.Errorf("%+v", p)
	}
}
