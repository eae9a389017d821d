package console_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
)

func TestASecretThatExpiresSoonStandsInTheStatusAndOnEveryPage(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	w := consoletest.New(t)
	w.Advance(w.Expires.Sub(w.Now()) - 31*day)
	for _, step := range []struct {
		later time.Duration
		want  []console.ExpiringSecret
		words string
	}{
		{0, nil, ""},
		{day, []console.ExpiringSecret{{App: "main", Position: 2, Expires: "2026-09-01", DaysLeft: 30}}, "expires on 2026-09-01, in 30 days"},
		{29 * day, []console.ExpiringSecret{{App: "main", Position: 2, Expires: "2026-09-01", DaysLeft: 1}}, "expires on 2026-09-01, tomorrow"},
		{day, []console.ExpiringSecret{{App: "main", Position: 2, Expires: "2026-09-01", DaysLeft: 0}}, "expires on 2026-09-01, today"},
		{day, []console.ExpiringSecret{{App: "main", Position: 2, Expires: "2026-09-01", DaysLeft: -1}}, "expired on 2026-09-01"},
	} {
		w.Advance(step.later)
		b := newBrowser(t, w, console.Viewer) // sessions end meanwhile
		var s console.Status
		a := call(t, w, console.Viewer, http.MethodGet, "/api/v1/status", "")
		if err := json.Unmarshal([]byte(a.body), &s); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, s.ExpiringSecrets); diff != "" {
			t.Errorf("%s (-want +got):\n%s", w.Now(), diff)
		}
		for _, path := range []string{"/", "/campaigns", "/legs", "/mailboxes"} {
			page := b.open(t, path).body
			if strings.Contains(page, "A client secret of app main") != (step.words != "") || !strings.Contains(page, step.words) {
				t.Errorf("%s: %s: the page lacks %q, or says too much", w.Now(), path, step.words)
			}
		}
	}
	if page := newBrowser(t, w, "").open(t, "/login").body; strings.Contains(page, "client secret") {
		t.Error("strangers are told of an app's secret")
	}
}
