package warmy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/fault"
	"kindling/internal/sim/warmyapi"
	"kindling/internal/warmy"
)

func TestAMailboxIsActivated(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := newClient(t, bearer(f.URL), nil, patient)
	for name, answer := range map[string]http.HandlerFunc{
		"plain text": say(200, "success"), "JSON": say(200, "{}"), "204": say(204, ""),
		"started already": say(422, `{"errors":["not allowed transmission"]}`),
	} {
		f.answer(answer)
		if err := c.Activate(t.Context(), "main", "77"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if call := f.got()[0]; call.method != http.MethodPut || call.path != "/api/v2/mailboxes/77/update_state" || call.body != `{"mailbox":{"state":"activate!"}}` {
		t.Errorf("call = %+v", call)
	}
	f.answer(say(404, ""))
	wants(t, c.Activate(t.Context(), "main", "77"), fault.Permanent, "warmy_gone")
	f.answer(say(500, ""))
	wants(t, c.Activate(t.Context(), "main", "77"), fault.Transient, "warmy_5xx")
	f.answer(hang)
	hasty := newClient(t, bearer(f.URL), nil, timeoutFor("warmy_timeout"))
	wants(t, hasty.Activate(t.Context(), "main", "77"), fault.Transient, "warmy_timeout")
	wants(t, c.Activate(t.Context(), "main", "../1"), fault.Permanent, "warmy_id_invalid")
	wants(t, c.Activate(t.Context(), "other", "1"), fault.LegDown, "account_unknown")
}

func TestAMailboxIsReadWhateverItsShapeIs(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := client(t, f)
	whole := warmy.Detail{ID: "77", Address: address, State: "not_active", Status: "paused", WarmupActive: true, TariffPlanTypeID: 41}
	for name, want := range map[string]struct {
		body string
		warmy.Detail
	}{
		"bare":                {`{"id":77,"email":"jane+x@contoso.example","state_key":"not_active","status":"paused","warmup_active":true,"tariff_plan_type_id":41,"x":[1]}`, whole},
		"data":                {`{"data":{"id":"77","email":"jane+x@contoso.example","state_key":"not_active","status":"paused","warmup_active":true,"tariff_plan_type_id":41}}`, whole},
		"no more than its id": {`{"id":77}`, warmy.Detail{ID: "77"}},
		"texts that are no keys": {
			`{"id":77,"state_key":"Bearer <b>","status":"` + strings.Repeat("a", 41) + `","warmup_active":"yes","tariff_plan_type_id":1e99}`, warmy.Detail{ID: "77"},
		},
		"nulls":           {`{"id":77,"state_key":null,"warmup_active":null,"tariff_plan_type_id":null}`, warmy.Detail{ID: "77"}},
		"a negative plan": {`{"id":77,"tariff_plan_type_id":-1}`, warmy.Detail{ID: "77"}},
	} {
		f.answer(say(200, want.body))
		got, err := c.Get(t.Context(), "main", "77")
		if diff := cmp.Diff(want.Detail, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if call := f.got()[0]; call.method != http.MethodGet || call.path != "/api/v2/mailboxes/77" || call.header.Get("Idempotency-Key") != "" {
		t.Errorf("call = %+v", call)
	}
}

func TestWhatIsNoAnswerAboutTheMailboxIsNotBelieved(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := newClient(t, bearer(f.URL), nil, patient)
	for _, body := range []string{
		"", "success", "<html>", "[]", "null", "{}", `{"id":78}`, `{"id":null}`, `{"id":77,"id":77}`, `{"id":77} trailing`, "{\"id\":77,\"email\":\"\xe4\"}",
	} {
		f.answer(say(200, body))
		_, err := c.Get(t.Context(), "main", "77")
		wants(t, err, fault.Transient, "warmy_detail_untrusted")
	}
}

func TestACallAboutOneMailboxFailsByItsOwnWords(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	for _, row := range []struct {
		answer http.HandlerFunc
		class  fault.Class
		code   string
	}{
		{say(404, `{"status":404,"error":"Not Found"}`), fault.Permanent, "warmy_gone"},
		{say(410, ""), fault.Permanent, "warmy_gone"},
		{say(400, `{"message":"`+canary+`"}`), fault.Permanent, "warmy_change_refused"},
		{say(409, ""), fault.Permanent, "warmy_change_refused"},
		{say(422, `{"errors":{"email":["has already been taken"]}}`), fault.Permanent, "warmy_change_refused"},
		{say(401, ""), fault.LegDown, "warmy_401"},
		{say(403, ""), fault.LegDown, "warmy_403"},
		{say(405, ""), fault.LegDown, "warmy_api_changed"},
		{say(302, "", "Location", "/elsewhere"), fault.LegDown, "warmy_redirect"},
		{say(429, "", "Retry-After", "7"), fault.RetryAfter, "warmy_429"},
		{say(500, `{"errors":["not allowed transmission"]}`), fault.Transient, "warmy_5xx"},
		{hang, fault.Transient, "warmy_timeout"},
		{endless, fault.Transient, "warmy_unreadable"},
	} {
		f.answer(row.answer)
		c := newClient(t, bearer(f.URL), nil, timeoutFor(row.code))
		_, err := c.Get(t.Context(), "main", "77")
		wants(t, err, row.class, row.code)
		wants(t, c.Pause(t.Context(), "main", "77"), row.class, row.code)
		wants(t, c.ChangePlan(t.Context(), "main", "77", 41), row.class, row.code)
	}
	before, c := len(f.got()), client(t, f)
	for _, id := range []string{"", "../1", "7/7", "7?x", "0", "-1", strings.Repeat("7", 65)} {
		_, err := c.Get(t.Context(), "main", id)
		wants(t, err, fault.Permanent, "warmy_id_invalid")
	}
	if len(f.got()) != before {
		t.Error("an id that cannot be one reached Warmy")
	}
}

func TestTheSimulatorsMailboxIsReadStartedPausedAndMoved(t *testing.T) {
	t.Parallel()
	_, base := simulate(t, warmyapi.Switches{StartPaused: true, PlainText: true})
	c := newClient(t, bearer(base), nil, time.Second)
	id, err := c.Create(t.Context(), "main", mailboxOf())
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(t.Context(), "main", "404")
	wants(t, err, fault.Permanent, "warmy_gone")
	want := warmy.Detail{ID: id, Address: address, State: "not_active", TariffPlanTypeID: 41}
	see := func() {
		t.Helper()
		got, err := c.Get(t.Context(), "main", id)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
	}
	see()
	for range 2 {
		if err := c.Activate(t.Context(), "main", id); err != nil {
			t.Error(err)
		}
		want.State, want.WarmupActive = "updated", true
		see()
	}
	if err := c.ChangePlan(t.Context(), "main", id, 1); err != nil {
		t.Error(err)
	}
	want.TariffPlanTypeID = 1
	see()
	if err := c.ChangePlan(t.Context(), "main", id, 0); err != nil {
		t.Error(err)
	}
	want.TariffPlanTypeID = 0
	see()
	wants(t, c.ChangePlan(t.Context(), "main", id, 999), fault.Permanent, "warmy_change_refused")
	for range 2 {
		if err := c.Pause(t.Context(), "main", id); err != nil {
			t.Error(err)
		}
		want.State, want.WarmupActive = "not_active", false
		see()
	}
}
