package campaign_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/campaign"
)

func TestResultsAreRFC4180(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := campaign.NewWriter(&b)
	for _, res := range []campaign.Result{
		{Line: 2, Email: "a@x.example", ExternalID: "crm,1", App: "main", Account: "eu", Status: "invited", Link: "https://connect.x.example/c/abc"},
		{Email: "b@x.example", Status: "dead", Reason: `Warmy said "no"`, Remedy: "correct\nit"},
	} {
		if err := w.Write(res); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "row,email,external_id,app,account,status,link,reason,remedy\r\n" +
		"2,a@x.example,\"crm,1\",main,eu,invited,https://connect.x.example/c/abc,,\r\n" +
		",b@x.example,,,,dead,,\"Warmy said \"\"no\"\"\",correct\\nit\r\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestNoResultStillHasAHeader(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := campaign.NewWriter(&b).Flush(); err != nil || !strings.HasPrefix(b.String(), "row,email,") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestCellIsHarmlessInASpreadsheet(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                       "",
		"Bob":                    "Bob",
		"a-b=c":                  "a-b=c",
		`=HYPERLINK("x","y")`:    `'=HYPERLINK("x","y")`,
		"+1":                     "'+1",
		"-1":                     "'-1",
		"@SUM(A1)":               "'@SUM(A1)",
		"\t=1":                   `'\t=1`,
		"\r=1":                   `'\r=1`,
		"\n=1":                   `'\n=1`,
		"  =1":                   "'  =1",
		"＝1":                     "'＝1",
		"＠a":                     "'＠a",
		"a\r\nb":                 `a\r\nb`,
		"a\x1b[31m":              `a\x1b[31m`,
		"a\u202eb":               `a\u202eb`,
		"a\u200bb":               `a\u200bb`,
		"a\xffb":                 `a\ufffdb`,
		"👩\u200d💻 山田":            "👩\u200d💻 山田",
		strings.Repeat("ä", 2e3): strings.Repeat("ä", 1023) + "…",
		strings.Repeat("ä", 600): strings.Repeat("ä", 600),
	} {
		if got := campaign.Cell(given); got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
}

func TestEveryTextCellOfAResultIsGuarded(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := campaign.NewWriter(&b)
	const f = "=1"
	if err := errors.Join(w.Write(campaign.Result{1, f, f, f, f, f, f, f, f}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for i, cell := range all[1][1:] {
		if cell != "'=1" {
			t.Errorf("column %s holds %s", all[0][i+1], cell)
		}
	}
}

func TestRefusedRowTellsAllItsReasons(t *testing.T) {
	t.Parallel()
	row := one(t, rules(), "email", "b", "external_id", "crm-1", "speed_mode", "turbo")
	want := campaign.Result{
		Line: 2, Email: "b", ExternalID: "crm-1", App: "main", Account: "main", Status: "refused",
		Reason: "email: the address has no @; speed_mode: the speed mode is unknown",
		Remedy: "write it as name@domain; use slow, medium or fast",
	}
	if diff := cmp.Diff(want, campaign.Refused(row)); diff != "" {
		t.Error(diff)
	}
	again := rows(t, "email\na@x.example\na@x.example\n", rules())
	if got := campaign.Refused(again[1]).Status; got != "skipped" {
		t.Errorf("a repeated row is %s", got)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestFullDiskIsAnError(t *testing.T) {
	t.Parallel()
	w := campaign.NewWriter(fullDisk{})
	if err := w.Flush(); err == nil {
		t.Error("the loss was not reported")
	}
}

func TestTemplateImportsAsItIs(t *testing.T) {
	t.Parallel()
	all := rows(t, string(campaign.Template()), rules())
	if len(all) != 2 || !all[0].Usable() || !all[1].Usable() || all[1].FromName != "Lindt, Bruno" {
		t.Errorf("%+v", all)
	}
}
