package warmy

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"kindling/internal/fault"
)

func FuzzAnAnswerToThePost(f *testing.F) {
	for _, seed := range []string{
		`{"message":["x"],"data":{"id":123}}`, `{"errors":{"email":["has already been taken"]}}`, `{"id":1,"id":2}`, `[]`, `null`, ``,
		`{"success":false}`, `{"data":{"id":"0"}}`, `{"errors":[[[[[[[["deep"]]]]]]]]}`, `{"data":{"mailbox":5}}`, `{"data":{"id":1}}}`,
	} {
		f.Add(200, seed)
		f.Add(422, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		id, failure := created(status, []byte(body), "invited@contoso.example")
		if (failure == nil) != isID(id) {
			t.Errorf("created() = %q, %v", id, failure)
		}
		if failure == nil && !json.Valid([]byte(body)) {
			t.Error("an answer that is no JSON was believed")
		}
		sound(t, failure)
		if status > 0 {
			sound(t, failed(answer{sent: true, status: status, header: http.Header{}, body: []byte(body)}, time.Unix(0, 0)))
		}
	})
}

func FuzzAListing(f *testing.F) {
	for _, seed := range []string{
		`{"items":[{"id":1,"email":"a@x.example"}],"pagination":{"current_page":1,"total_pages":1,"total_count":1,"next_page":null}}`,
		`{"items":[],"pagination":{}}`, `{"items":null}`, `[]`, ``, `{"items":[{"id":1,"email":"a","email":"b"}],"pagination":{}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, failure := parsePage([]byte(body))
		sound(t, failure)
		if failure != nil {
			return
		}
		var s survey
		if failure := s.add(p); failure != nil {
			sound(t, failure)
			return
		}
		if id, found, err := s.find("invited@contoso.example"); err == nil && found && !isID(id) {
			t.Errorf("found %q", id)
		}
	})
}

func FuzzAnAnswerAboutOneMailbox(f *testing.F) {
	for _, seed := range []string{
		`{"id":77,"state_key":"not_active","warmup_active":true,"tariff_plan_type_id":41}`, `{"data":{"id":"77"}}`, `{"id":1,"id":2}`, `[]`, `null`, ``, "success",
		`{"errors":["not allowed transmission"]}`,
	} {
		f.Add(200, seed)
		f.Add(422, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		d, ok := parseDetail([]byte(body))
		if ok != isID(d.ID) || key(d.State) != d.State || key(d.Status) != d.Status || d.TariffPlanTypeID < 0 {
			t.Errorf("parseDetail() = %+v, %t", d, ok)
		}
		if status > 0 {
			sound(t, failedChange(answer{sent: true, status: status, header: http.Header{}, body: []byte(body)}, time.Unix(0, 0)))
		}
	})
}

func FuzzAListOfPlans(f *testing.F) {
	for _, seed := range []string{`[{"id":41,"name":"Business"}]`, `[{"id":"1"}]`, `[]`, `null`, ``, `[null]`, `[{"id":1e9}]`, `{}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		plans, failure := parsePlans([]byte(body))
		sound(t, failure)
		for _, p := range plans {
			if p.ID <= 0 {
				t.Errorf("a plan %+v", p)
			}
		}
	})
}

func FuzzASession(f *testing.F) {
	f.Add([]byte(`{"of":"x","token":"t","client":"c","uid":"u","expires":"2026-01-01T00:00:00Z"}`), "t1", "1767225600")
	f.Add([]byte("null"), " ", " ")
	f.Add([]byte(``), "a b", "-1")
	f.Fuzz(func(t *testing.T, kept []byte, token, expires string) {
		w := newWorkspace(Account{Name: "main"})
		s := openSession(kept, w)
		s.follow(http.Header{"Access-Token": {token}, "Expiry": {expires}})
		if s.begun(http.Header{"Access-Token": {token}, "Uid": {token}, "Client": {token}, "Expiry": {expires}}) != (s.Token != "") {
			t.Error("a session without a token has begun")
		}
		again := openSession(s.marshal(), w)
		if again.Token != s.Token || !again.Expires.Equal(s.Expires) {
			t.Errorf("%+v is kept as %+v", s, again)
		}
		if wait := again.mayTry(w, time.Unix(0, 0)); wait < 0 || wait > mostRefused {
			t.Errorf("waits %v", wait)
		}
	})
}

// sound checks that a fault says all it must.
func sound(t *testing.T, failure *fault.Fault) {
	t.Helper()
	if failure == nil {
		return
	}
	if failure.Class == "" || failure.Code == "" || failure.Cause == "" || failure.Remedy == "" || failure.Forecast == "" || len(failure.Cause) > 300 ||
		failure.After < 0 || failure.After > waitMost {
		t.Errorf("fault lacks something: %+v", failure)
	}
}
