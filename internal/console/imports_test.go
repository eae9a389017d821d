package console_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/campaign"
	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/mailbox"
)

const threeRows = "email,from_name,speed_mode,external_id\n" +
	"ada@a.example,Ada,fast,c1\n" +
	"Bob@B.example,Bob,,c2\n" +
	"not an address,X,fast,c3\n" +
	"ada@A.example,Ada again,fast,c4\n" +
	"eve@a.example,Eve,warp,c5\n"

func TestAnImportInvitesGoodRowsAndReportsTheOthers(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	report := importCSV(t, w, "Spring", threeRows)
	if report.Rows != 5 || report.Invited != 2 || report.Refused != 2 || report.Duplicates != 1 || report.Known != 0 {
		t.Fatalf("report = %+v", report)
	}
	var lines []string
	for _, p := range report.Problems {
		lines = append(lines, fmt.Sprintf("%d %s %s", p.Line, p.Column, p.Code))
		if p.Reason == "" || p.Remedy == "" {
			t.Errorf("problem without words: %+v", p)
		}
	}
	want := []string{"4 email email_space", "5 email duplicate", "6 speed_mode speed_unknown"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	inv, _, _ := w.Invitations.Load(t.Context(), w.Links.Mailbox("main", "bob@b.example"))
	if inv.Address != "bob@b.example" || inv.SpeedMode != "fast" || inv.TariffPlanTypeID != 41 || inv.LinkGeneration != 1 ||
		inv.LinkHash != mailbox.Hash(w.Links.Link(inv.ID, 1)) || inv.FromName != "Bob" || inv.Line != 3 || inv.Campaign != report.Campaign {
		t.Errorf("invitation = %+v", inv)
	}
	if life := inv.LinkExpiresAt.Sub(inv.InvitedAt); life != 14*24*time.Hour {
		t.Errorf("the link lives %v", life)
	}
}

func TestImportingTwiceIsHarmless(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	first := importCSV(t, w, "Spring", threeRows)
	before := w.Invitations.All()
	second := importCSV(t, w, "Spring", threeRows)
	if second.Campaign != first.Campaign || second.Invited != 0 || second.Known != 2 {
		t.Fatalf("second = %+v", second)
	}
	if diff := cmp.Diff(before, w.Invitations.All()); diff != "" {
		t.Errorf("the second import changed something:\n%s", diff)
	}
	fact, _, _ := w.Campaigns.Load(t.Context(), first.Campaign)
	if fact.Invited != 2 || fact.Known != 2 || fact.Rows != 5 || fact.SHA256 == "" || fact.CreatedBy != "operator one" {
		t.Errorf("campaign = %+v", fact)
	}
}

func TestImportingACorrectedFileUpdatesWhatIsNotUnderWay(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	const header = "email,from_name,tariff_plan_type_id,speed_mode,external_id\n"
	importCSV(t, w, "Spring", header+"ada@a.example,Ado,1,slow,c1\nbob@b.example,Bob,1,slow,c2\neve@c.example,Eve,1,slow,c3\n")
	ada, bob := w.Links.Mailbox("main", "ada@a.example"), w.Links.Mailbox("main", "bob@b.example")
	before, _, _ := w.Invitations.Load(t.Context(), ada)
	w.Registrations.Put(bob, mailbox.Registration{Phase: mailbox.Registered, Attempt: "a1", WarmyID: "7", Since: w.Now()})
	w.Eventually(t, "the console knows of the registration", func() bool {
		return strings.Contains(call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+bob, "").body, `"registered"`)
	})
	mended := header + "ada@a.example,Ada,41,fast,c9\nbob@b.example,Bob,41,slow,c2\neve@c.example,,1,slow,\n"
	var dry console.ImportReport
	call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Spring&dry_run=true", mended, "Content-Type", "text/csv").decode(t, &dry)
	if unchanged, _, _ := w.Invitations.Load(t.Context(), ada); dry.Updated != 1 || unchanged != before {
		t.Errorf("dry run: %+v %+v", dry, unchanged)
	}
	report := importCSV(t, w, "Spring", mended)
	if report.Updated != 1 || report.Known != 2 || report.Invited != 0 || report.ByCode["differs"] != 1 {
		t.Errorf("report = %+v", report)
	}
	want := before
	want.FromName, want.TariffPlanTypeID, want.SpeedMode, want.ExternalID = "Ada", 41, "fast", "c9"
	got, revision, _ := w.Invitations.Load(t.Context(), ada)
	if diff := cmp.Diff(want, got); diff != "" || revision != 2 {
		t.Errorf("revision %d, invitation (-want +got):\n%s", revision, diff)
	}
	if kept, _, _ := w.Invitations.Load(t.Context(), bob); kept.TariffPlanTypeID != 1 {
		t.Errorf("a registered mailbox was changed: %+v", kept)
	}
	if again := importCSV(t, w, "Spring", mended); again.Updated != 0 || again.Known != 3 {
		t.Errorf("again = %+v", again)
	}
	onlyName := header + "ada@a.example,Ada Keller,41,fast,c9\n"
	a := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Spring", onlyName, "Content-Type", "text/csv", "Accept", "text/csv")
	if !strings.Contains(a.body, ",updated,https://connect.example/c/"+w.Links.Link(ada, 1)) || !strings.Contains(a.header.Get(console.ReportHeader), `"updated":1`) {
		t.Errorf("%s\n%s", a.header.Get(console.ReportHeader), a.body)
	}
}

func TestAFileOfCorrectionsSurvivesAWriterInBetween(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email,speed_mode\nada@a.example,slow\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	if a := call(t, w, console.Worker, "POST", "/api/v1/mailboxes/"+id+"/reinvite", "{}"); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	report := importCSV(t, w, "Spring", "email,speed_mode\nada@a.example,fast\n")
	inv, _, _ := w.Invitations.Load(t.Context(), id)
	if report.Updated != 1 || inv.SpeedMode != "fast" || inv.LinkGeneration != 2 || inv.LinkHash != mailbox.Hash(w.Links.Link(id, 2)) {
		t.Errorf("%+v %+v", report, inv)
	}
}

func TestChangedValuesOfAKnownMailboxAreReportedAndNotTaken(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email,account\nada@a.example,main\n")
	report := importCSV(t, w, "Autumn", "email,account,speed_mode\nada@a.example,other,slow\n")
	if report.Known != 1 || report.Invited != 0 || report.ByCode["differs"] != 2 || report.ByCode["other_campaign"] != 1 {
		t.Errorf("report = %+v", report)
	}
	inv, revision, _ := w.Invitations.Load(t.Context(), w.Links.Mailbox("main", "ada@a.example"))
	if revision != 1 || inv.Account != "main" || inv.SpeedMode != "fast" {
		t.Errorf("the import changed a known mailbox: %+v", inv)
	}
}

func TestAMistypedDefaultIsRefusedBeforeAnythingIsStored(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	for _, query := range []string{"tenant=commmon", "speed_mode=warp", "app=mian", "account=nobody"} {
		a := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Spring&"+query, threeRows, "Content-Type", "text/csv")
		if p := a.problem(t); p.Status != http.StatusBadRequest || p.Code != "bad_default" || p.Remedy == "" {
			t.Errorf("%s: %+v", query, p)
		}
	}
	if w.Invitations.Len() != 0 || w.Campaigns.Len() != 0 {
		t.Error("something was stored")
	}
}

func TestADryRunStoresNothing(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	a := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Spring&dry_run=true", threeRows, "Content-Type", "text/csv")
	var report console.ImportReport
	a.decode(t, &report)
	if report.Invited != 2 || !report.DryRun {
		t.Errorf("report = %+v", report)
	}
	if w.Invitations.Len() != 0 || w.Campaigns.Len() != 0 || len(w.Audit.Entries()) != 0 {
		t.Error("a dry run stored something")
	}
}

func TestTheResultCSVListsEveryRowWithItsLinkOrItsReason(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	a := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Spring", threeRows, "Content-Type", "text/csv", "Accept", "text/csv")
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	if err != nil || len(rows) != 6 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	byLine := map[string][]string{}
	for _, row := range rows[1:] {
		byLine[row[0]] = row
	}
	id := w.Links.Mailbox("main", "ada@a.example")
	if got := byLine["2"]; got[5] != "invited" || got[6] != "https://connect.example/c/"+w.Links.Link(id, 1) {
		t.Errorf("good row: %q", got)
	}
	if got := byLine["4"]; got[5] != "refused" || got[6] != "" || got[7] == "" || got[8] == "" {
		t.Errorf("bad row: %q", got)
	}
}

func TestABrokenFileKeepsWhatCameBeforeTheBreak(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	report := importCSV(t, w, "Spring", "email,from_name\nada@a.example,Ada\nbob@b.example,\"Bob\n")
	if report.File == nil || report.Invited != 1 || report.Complete() {
		t.Errorf("report = %+v", report)
	}
	a := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=X", "name,password\na,b\n", "Content-Type", "text/csv")
	if p := a.problem(t); p.Status != http.StatusUnprocessableEntity || !strings.HasPrefix(p.Code, "file_") || p.Remedy == "" {
		t.Errorf("problem = %+v", p)
	}
}

func TestAFormUploadIsAnImport(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	body := "--b\r\nContent-Disposition: form-data; name=\"speed_mode\"\r\n\r\nslow\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../May.csv\"\r\nContent-Type: text/csv\r\n\r\n" +
		"email\r\nada@a.example\r\n\r\n--b--\r\n"
	a := call(t, w, console.Worker, "POST", "/api/v1/campaigns", body, "Content-Type", "multipart/form-data; boundary=b")
	var report console.ImportReport
	a.decode(t, &report)
	inv, _, _ := w.Invitations.Load(t.Context(), w.Links.Mailbox("main", "ada@a.example"))
	if report.Name != "May" || report.Invited != 1 || inv.SpeedMode != "slow" {
		t.Errorf("%+v %+v", report, inv)
	}
}

func TestAnErasedMailboxIsNotInvitedAgain(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	importCSV(t, w, "Spring", "email\nada@a.example\n")
	id := w.Links.Mailbox("main", "ada@a.example")
	inv, _, _ := w.Invitations.Load(t.Context(), id)
	inv.ErasedAt = w.Now()
	w.Invitations.Put(id, inv)
	w.Eventually(t, "the console knows of the erasure", func() bool {
		return strings.Contains(call(t, w, console.Viewer, "GET", "/api/v1/mailboxes/"+id, "").body, `"erased"`)
	})
	report := importCSV(t, w, "Spring", "email\nada@a.example\n")
	if report.Refused != 1 || report.ByCode[campaign.Erased] != 1 {
		t.Errorf("report = %+v", report)
	}
}

func TestAStoreThatIsAwayEndsTheImport(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	w.Invitations.SetDown(true)
	a := call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Spring", threeRows, "Content-Type", "text/csv")
	if p := a.problem(t); p.Status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("problem = %+v", p)
	}
	last := w.Audit.Entries()[len(w.Audit.Entries())-1]
	if last.Outcome != "failed" || last.Action != "campaign.import" {
		t.Errorf("audit = %+v", last)
	}
}

func TestAHundredThousandRowsAreImported(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	var file bytes.Buffer
	file.WriteString("email,external_id\n")
	const rows = 100_000
	for i := range rows {
		fmt.Fprintf(&file, "owner%d@company%d.example,crm-%d\n", i, i%97, i)
	}
	if report := importCSV(t, w, "Large", file.String()); report.Invited != rows {
		t.Errorf("%d of %d invited", report.Invited, rows)
	}
}

func TestAnAddressUnderTwoAppsOfOneAccountIsWarnedOf(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	report := importCSV(t, w, "Spring", "email,app,account\na@a.example,main,\na@a.example,second,\nb@a.example,main,\nb@a.example,second,other\n")
	if report.Invited != 4 || report.Warned != 1 || report.ByCode["other_app"] != 1 {
		t.Errorf("in one file: %+v", report)
	}
	var far strings.Builder // the two are more than a batch apart, of which a dry run stores none
	far.WriteString("email,app,account\nfar@a.example,main,\n")
	for i := range 600 {
		fmt.Fprintf(&far, "between%d@a.example,main,\n", i)
	}
	far.WriteString("far@a.example,second,\n")
	var dry console.ImportReport
	call(t, w, console.Worker, "POST", "/api/v1/campaigns?name=Far&dry_run=true", far.String(), "Content-Type", "text/csv").decode(t, &dry)
	if dry.Invited != 602 || dry.ByCode["other_app"] != 1 {
		t.Errorf("in a dry run: %+v", dry)
	}
	report = importCSV(t, w, "May", "email,app,account\nb@a.example,main,\nc@a.example,main,\n")
	if report.ByCode["other_app"] != 0 {
		t.Errorf("rows that are known, or alone: %+v", report)
	}
	report = importCSV(t, w, "June", "email,app,account\nc@a.example,second,\n")
	if report.Invited != 1 || report.ByCode["other_app"] != 1 || report.Problems[0].Column != "app" {
		t.Errorf("in two files: %+v", report)
	}
}
