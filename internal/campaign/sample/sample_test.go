package sample_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/campaign"
	"kindling/internal/campaign/sample"
)

func survey(t *testing.T, file []byte) (campaign.Summary, map[string]int) {
	t.Helper()
	domains := map[string]int{}
	rules := campaign.Rules{Defaults: campaign.Defaults{App: "main", Account: "main", TariffPlanTypeID: 41}}
	s, err := campaign.Survey(campaign.Read(bytes.NewReader(file), rules), func(r *campaign.Row) {
		_, domain, _ := strings.Cut(r.Email, "@")
		domains[domain]++
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, domains
}

func TestSampleHasTwoHundredFlawlessMailboxesInTwelveReservedDomains(t *testing.T) {
	t.Parallel()
	s, domains := survey(t, sample.CSV)
	if s.Usable != 200 || s.Rows != 200 || len(s.Problems) != 0 {
		t.Errorf("usable %d of %d, problems %v", s.Usable, s.Rows, s.Problems)
	}
	if len(domains) != 12 {
		t.Errorf("domains: %v", domains)
	}
	for domain := range domains {
		if !strings.HasSuffix(domain, ".example") {
			t.Errorf("%s is not a reserved domain", domain)
		}
	}
}

func TestWriteBeginsWithTheSample(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample.Write(&b, 200); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(sample.CSV), b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestWriteNeverRepeatsAnAddress(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := sample.Write(&b, 20_000); err != nil {
		t.Fatal(err)
	}
	if s, _ := survey(t, b.Bytes()); s.Usable != 20_000 {
		t.Errorf("usable %d of %d: %v", s.Usable, s.Rows, s.ByCode)
	}
}
