package warmy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/secret"
	"kindling/internal/warmy"
)

func TestAMailboxIsPostedAsTheGuideShows(t *testing.T) {
	t.Parallel()
	f := newFake(t, say(200, `{"message":["created"],"data":{"id":123,"tariff_plan_type_id":41}}`))
	pace := &pacer{}
	id, err := newClient(t, bearer(f.URL), pace, time.Second).Create(t.Context(), "main", mailboxOf())
	if err != nil || id != "123" {
		t.Fatalf("Create() = %q, %v", id, err)
	}
	calls := f.got()
	if len(calls) != 1 || calls[0].method != http.MethodPost || calls[0].path != "/api/v2/mailboxes" || pace.count() != 1 {
		t.Fatalf("calls = %v, paced %d", calls, pace.count())
	}
	want := map[string]any{"mailbox": map[string]any{
		"provider": "oauth_outlook", "email": address, "from_name": "Jane", "client_id": "client", "client_secret": "secret-" + canary,
		"access_token": "access-" + canary, "refresh_token": "refresh-" + canary, "tariff_plan_type_id": 41.0,
		"setting_attributes": map[string]any{"speed_mode": "fast"},
	}}
	var got map[string]any
	if err := json.Unmarshal([]byte(calls[0].body), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	h := calls[0].header
	if h.Get("Authorization") != "Bearer key-"+canary || h.Get("holder-uid") != "holder" || h.Get("Content-Type") != "application/json" {
		t.Errorf("headers = %v", h)
	}
	for _, never := range []string{"Idempotency-Key", "Cookie", "access-token"} {
		if h.Get(never) != "" {
			t.Errorf("sent %s", never)
		}
	}
}

func TestEveryShapeOfAnIDIsRead(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := client(t, f)
	for name, body := range map[string]string{
		"numeric": `{"data":{"id":77}}`, "text": `{"data":{"id":"77"}}`, "top": `{"id":77}`, "nested": `{"mailbox":{"id":77}}`,
		"deep": `{"data":{"mailbox":{"id":77}}}`, "twice the same": `{"id":77,"data":{"id":"77"}}`,
		"extra": `{"data":{"id":77,"refresh_token":"` + canary + `","email":" Jane+X@Contoso.Example "},"x":[{"id":5}]}`,
	} {
		f.answer(say(201, body))
		if id, err := c.Create(t.Context(), "main", mailboxOf()); err != nil || id != "77" {
			t.Errorf("%s: %q, %v", name, id, err)
		}
	}
}

func TestWhatMayHaveTakenEffectIsUnclearAndPostedOnce(t *testing.T) {
	t.Parallel()
	const good = `{"data":{"id":77}}`
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   string
		breaks bool
	}{
		"time-out":             {hang, "warmy_timeout", true},
		"RST":                  {reset, "warmy_connection_lost", true},
		"EOF":                  {cut(""), "warmy_connection_lost", true},
		"not HTTP":             {cut(canary), "warmy_connection_lost", true},
		"short body":           {cut("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "warmy_connection_lost", true},
		"slow drip":            {drip(good), "warmy_timeout", true},
		"endless":              {endless, "warmy_unreadable", false},
		"gzip bomb":            {gzipped(strings.Repeat(" ", 8<<20)), "warmy_unreadable", false},
		"empty":                {say(200, ""), "warmy_unreadable", false},
		"without id":           {say(200, `{"data":{}}`), "warmy_no_id", false},
		"id null":              {say(200, `{"data":{"id":null}}`), "warmy_no_id", false},
		"id 0":                 {say(200, `{"data":{"id":0}}`), "warmy_no_id", false},
		"id text 0":            {say(200, `{"data":{"id":"0"}}`), "warmy_no_id", false},
		"id -1":                {say(200, `{"data":{"id":-1}}`), "warmy_no_id", false},
		"id text -1":           {say(200, `{"data":{"id":"-1"}}`), "warmy_no_id", false},
		"id 1e20":              {say(200, `{"data":{"id":1e20}}`), "warmy_no_id", false},
		"id 1.5":               {say(200, `{"data":{"id":1.5}}`), "warmy_no_id", false},
		"id a path":            {say(200, `{"data":{"id":"../x"}}`), "warmy_no_id", false},
		"two ids":              {say(200, `{"id":1,"data":{"id":2}}`), "warmy_no_id", false},
		"id twice":             {say(200, `{"data":{"id":1,"id":2}}`), "warmy_unreadable", false},
		"HTML":                 {say(200, "<html>"+canary), "warmy_unreadable", false},
		"plain text":           {say(200, "success"), "warmy_unreadable", false},
		"a list":               {say(200, `[{"id":1}]`), "warmy_unreadable", false},
		"bad JSON":             {say(200, `{"data":{"id":77}`), "warmy_unreadable", false},
		"trailing garbage":     {say(200, good+"x"), "warmy_unreadable", false},
		"two documents":        {say(200, good+good), "warmy_unreadable", false},
		"Latin-1":              {say(200, "{\"data\":{\"id\":77,\"from_name\":\"J\xfcrgen\"}}"), "warmy_unreadable", false},
		"other address":        {say(200, `{"data":{"id":77,"email":"boss@contoso.example"}}`), "warmy_other_address", false},
		"202":                  {say(202, good), "warmy_no_id", false},
		"204":                  {say(204, ""), "warmy_no_id", false},
		"206":                  {say(206, good), "warmy_no_id", false},
		"500":                  {say(500, canary), "warmy_5xx", true},
		"maintenance page":     {say(503, "<html>maintenance"), "warmy_5xx", true},
		"502":                  {say(502, "<html>"), "warmy_5xx", true},
		"503":                  {say(503, ""), "warmy_5xx", true},
		"504":                  {say(504, ""), "warmy_5xx", true},
		"520":                  {say(520, ""), "warmy_5xx", true},
		"524":                  {say(524, ""), "warmy_5xx", true},
		"500 with a promise":   {say(500, good), "warmy_5xx", true},
		"500 and a cut body":   {cut("HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\n{"), "warmy_5xx", true},
		"taken 409":            {say(409, ""), "warmy_taken", false},
		"taken 422 by field":   {say(422, `{"errors":{"email":["has already been taken"]}}`), "warmy_taken", false},
		"taken 422 in a list":  {say(422, `{"errors":["Email has already been taken"]}`), "warmy_taken", false},
		"taken in message":     {say(422, `{"message":"Mailbox already exists"}`), "warmy_taken", false},
		"taken in error":       {say(400, `{"error":{"email":"Already taken"}}`), "warmy_taken", false},
		"taken at the top":     {say(422, `{"email":["has already been taken"]}`), "warmy_taken", false},
		"taken in a bare list": {say(422, `["Email has already been taken"]`), "warmy_taken", false},
		"taken in plain text":  {say(422, "Mailbox already exists"), "warmy_taken", false},
		"taken with 200":       {say(200, `{"success":false,"errors":["Email has already been taken"]}`), "warmy_taken", false},
		"no, with an id":       {say(200, `{"success":false,"errors":["no"],"data":{"id":77}}`), "warmy_no_id", false},
		"521":                  {say(521, ""), "warmy_5xx", true},
		"522":                  {say(522, ""), "warmy_5xx", true},
		"523":                  {say(523, ""), "warmy_5xx", true},
		"422 and a cut body":   {cut("HTTP/1.1 422 No\r\nContent-Length: 99\r\n\r\n{\"errors\":[\"Email has al"), "warmy_connection_lost", true},
		"400 and a cut body":   {cut("HTTP/1.1 400 No\r\nContent-Length: 99\r\n\r\n{\"message\":\"Plan li"), "warmy_connection_lost", true},
		"422 and a slow body":  {slowly(422, `{"errors":["Email has al`), "warmy_timeout", true},
		"422 without an end":   {say(422, `{"errors":["`+strings.Repeat("x", 256<<10)+`"]}`), "warmy_unreadable", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, c.answer)
			ctx, seen := leg.Watch(t.Context())
			err := create(ctx, newClient(t, bearer(f.URL), nil, 300*time.Millisecond))
			got := wants(t, err, fault.Unclear, c.code)
			if got.Outage != c.breaks || seen.Failed() != c.breaks || seen.Answered() == c.breaks {
				t.Errorf("counts against Warmy: %t, reported %t", got.Outage, seen.Failed())
			}
			if want := map[bool]time.Duration{true: time.Second}[c.code == "warmy_taken"]; got.After != want {
				t.Errorf("After = %s, want %s", got.After, want)
			}
			if n := len(f.got()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestAnAnswerAboutAnotherAddressKeepsItsID: whoever forgot it would post the mailbox again, because no listing shows it.
func TestAnAnswerAboutAnotherAddressKeepsItsID(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := client(t, f)
	for body, want := range map[string]string{
		`{"data":{"id":77,"email":"boss@contoso.example"}}`:                          "77",
		`{"email":"boss@contoso.example","data":{"id":77}}`:                          "77",
		`{"id":77,"data":{"id":78,"email":"boss@contoso.example"}}`:                  "",
		`{"data":{"id":"../x","email":"boss@contoso.example"}}`:                      "",
		`{"data":{"email":"boss@contoso.example"},"mailbox":{"id":"a-b_9"}}`:         "a-b_9",
		`{"data":{"email":"boss@contoso.example","refresh_token":"` + canary + `"}}`: "",
	} {
		f.answer(say(http.StatusOK, body))
		id, err := c.Create(t.Context(), "main", mailboxOf())
		wants(t, err, fault.Unclear, "warmy_other_address")
		if id != want {
			t.Errorf("%s: id %q, want %q", body, id, want)
		}
	}
}

// slowly answers with a status and the beginning of a body.
func slowly(status int, start string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		drip(start)(w, r)
	}
}

// TestWhatSaysNothingOfWarmysHealthIsNotCounted: what is counted as an answer makes up for the failures before it.
func TestWhatSaysNothingOfWarmysHealthIsNotCounted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  fault.Class
		code   string
	}{
		"429": {say(429, ""), fault.RetryAfter, "warmy_429"},
		"408": {say(408, ""), fault.Unclear, "warmy_4xx_timeout"},
		"499": {say(499, ""), fault.Unclear, "warmy_4xx_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, c.answer)
			ctx, seen := leg.Watch(t.Context())
			got := wants(t, create(ctx, client(t, f)), c.class, c.code)
			if got.Outage || seen.Failed() || seen.Answered() || len(f.got()) != 1 {
				t.Errorf("outage %t, failed %t, answered %t after %d requests", got.Outage, seen.Failed(), seen.Answered(), len(f.got()))
			}
		})
	}
}

func gzipped(body string) http.HandlerFunc {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = io.WriteString(writer, body)
	_ = writer.Close()
	return say(http.StatusOK, packed.String(), "Content-Encoding", "gzip")
}

func TestAConnectionThatDiesIdleCausesNoSecondPost(t *testing.T) {
	t.Parallel()
	var served bool
	f := newFake(t, nil)
	f.answer(func(w http.ResponseWriter, r *http.Request) {
		if !served {
			served = true
			say(200, `{"data":{"id":77}}`)(w, r)
			return
		}
		cut("")(w, r)
	})
	c := client(t, f)
	if err := create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	wants(t, create(t.Context(), c), fault.Unclear, "warmy_connection_lost")
	if n := len(f.got()); n != 2 {
		t.Errorf("%d requests for 2 posts", n)
	}
}

func TestARefusedMailboxIsBuriedAndOpensNoBreaker(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := client(t, f)
	for name, want := range map[string]struct {
		answer http.HandlerFunc
		code   string
		says   string
	}{
		"400":               {say(400, `{"message":"Please recheck your credentials and try again"}`), "warmy_400_credentials", "tokens"},
		"400 empty":         {say(400, ""), "warmy_400_credentials", "tokens"},
		"422 tariff":        {say(422, `{"errors":["Tariff plan type must exist"]}`), "warmy_422", "the field tariff_plan_type_id"},
		"422 token":         {say(422, `{"errors":{"refresh_token":["`+canary+` is invalid"]}}`), "warmy_422", "the field refresh_token"},
		"422 provider":      {say(422, `{"error":"Provider is not included in the list"}`), "warmy_422", "the field provider"},
		"422 limit":         {say(422, `{"errors":{"setting_attributes.user_max_limit":["limit exceeded"]}}`), "warmy_422", "a field of the mailbox"},
		"422 daily limit":   {say(422, `{"message":"You have reached the limit of letters a day"}`), "warmy_422", "a field of the mailbox"},
		"422 unknown field": {say(422, `{"errors":{"`+canary+`":["no"]}}`), "warmy_422", "a field of the mailbox"},
		"422 HTML":          {say(422, "<html>"+canary), "warmy_422", "a field of the mailbox"},
		"413":               {say(413, ""), "warmy_413", "413"},
		"451":               {say(451, ""), "warmy_451", "451"},
		"success false":     {say(200, `{"success":false,"errors":["no"]}`), "warmy_refused", "said no"},
		"422 at the top":    {say(422, `{"refresh_token":["is invalid"]}`), "warmy_422", "the field refresh_token"},
		"422 plain text":    {say(422, "Provider is not included in the list"), "warmy_422", "the field provider"},
		"no, and no id":     {say(200, `{"success":false,"data":{"id":null}}`), "warmy_refused", "said no"},
	} {
		t.Log(name)
		f.answer(want.answer)
		err := create(t.Context(), c)
		if got := wants(t, err, fault.Permanent, want.code); !strings.Contains(got.Cause, want.says) {
			t.Errorf("cause = %q", got.Cause)
		}
		if fault.Of(err).Outage {
			t.Error("a refused mailbox would open the breaker")
		}
	}
}

func TestWhatIsAboutTheAccountHoldsTheLeg(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := client(t, f)
	for _, want := range []struct {
		status     int
		body, code string
	}{
		{401, `{"errors":["You need to sign in or sign up before continuing."]}`, "warmy_401"},
		{402, "", "warmy_402"},
		{403, "", "warmy_403"},
		{403, "<html>challenge", "warmy_403"},
		{404, "", "warmy_api_changed"},
		{405, "", "warmy_api_changed"},
		{410, "", "warmy_api_changed"},
		{415, "", "warmy_api_changed"},
		{301, "", "warmy_redirect"},
		{302, "", "warmy_redirect"},
		{307, "", "warmy_redirect"},
		{308, "", "warmy_redirect"},
		{422, `{"errors":["Mailbox limit reached, upgrade your plan"]}`, "warmy_plan_limit"},
		{400, `{"message":"Plan limit exceeded"}`, "warmy_plan_limit"},
		{400, "Plan limit exceeded", "warmy_plan_limit"},
		{422, `{"base":["Mailbox limit reached"]}`, "warmy_plan_limit"},
		{200, `{"success":false,"message":"Plan limit exceeded"}`, "warmy_plan_limit"},
	} {
		f.answer(say(want.status, want.body, "Location", "/api/v2/mailboxes"))
		before := len(f.got())
		err := create(t.Context(), c)
		wants(t, err, fault.LegDown, want.code)
		if len(f.got()) != before+1 || fault.Of(err).Outage {
			t.Errorf("%d: %d requests", want.status, len(f.got())-before)
		}
	}
}

func TestTooManyRequestsWaitsAsAsked(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := client(t, f)
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": time.Second, "": time.Minute, "-5": time.Minute, "later": time.Minute,
		"999999": 10 * time.Minute, "99999999999999999999": 10 * time.Minute,
		clock().Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		clock().Add(-time.Hour).Format(http.TimeFormat):       time.Second,
	} {
		f.answer(say(429, "error 429", "Retry-After", header, "Date", clock().Format(http.TimeFormat)))
		err := create(t.Context(), c)
		if got := wants(t, err, fault.RetryAfter, "warmy_429"); got.After != want || fault.Of(err).Outage {
			t.Errorf("Retry-After %q: wait %s, want %s", header, got.After, want)
		}
	}
}

// TestADateToWaitForIsReadByTheClockThatWroteIt: this machine's clock may be an hour off.
func TestADateToWaitForIsReadByTheClockThatWroteIt(t *testing.T) {
	t.Parallel()
	theirs := clock().Add(time.Hour)
	for date, want := range map[string]time.Duration{
		theirs.Format(http.TimeFormat): 90 * time.Second,
		"yesterday":                    10 * time.Minute, // no date: this machine's clock must do
	} {
		f := newFake(t, say(429, "", "Retry-After", theirs.Add(90*time.Second).Format(http.TimeFormat), "Date", date))
		if got := wants(t, create(t.Context(), client(t, f)), fault.RetryAfter, "warmy_429"); got.After != want {
			t.Errorf("Date %q: wait %s, want %s", date, got.After, want)
		}
	}
}

func TestWhatWasNeverSentIsTransient(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + listener.Addr().String()
	_ = listener.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	for _, base := range []string{refusing, "http://nowhere.invalid", untrusted.URL} {
		err := create(t.Context(), newClient(t, bearer(base), nil, time.Second))
		wants(t, err, fault.Transient, "warmy_unreachable")
		if !fault.Of(err).Outage {
			t.Errorf("%s: does not feed the breaker", base)
		}
	}
}

// TestWhatCannotBeMadeIsNoOutage: a mistake in the configuration holds the leg under its own name.
func TestWhatCannotBeMadeIsNoOutage(t *testing.T) {
	t.Parallel()
	good := bearer("http://127.0.0.1:1")
	broken := good
	broken.HolderUID = "a\r\nb"
	torn := good
	torn.APIKey = secret.New("key-" + canary + "\n")
	for name, account := range map[string]warmy.Account{
		"no address": bearer("://"), "another protocol": bearer("ftp://odd"), "no host": bearer("https:///"), "a header of two lines": broken, "a key of two lines": torn,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, seen := leg.Watch(t.Context())
			got := wants(t, create(ctx, newClient(t, account, nil, time.Second)), fault.LegDown, "warmy_misconfigured")
			if got.Outage || seen.Failed() || seen.Answered() {
				t.Errorf("outage %t, failed %t, answered %t", got.Outage, seen.Failed(), seen.Answered())
			}
		})
	}
}

func TestAHandshakeThatHangsSentNothing(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c := newClient(t, bearer("https://"+listener.Addr().String()), nil, 100*time.Millisecond)
	wants(t, create(t.Context(), c), fault.Transient, "warmy_unreachable")
}

func TestNothingIsSentWithoutTheBudgetsLeave(t *testing.T) {
	t.Parallel()
	f := newFake(t, say(200, `{"data":{"id":1}}`))
	pace := &pacer{err: context.DeadlineExceeded}
	c := newClient(t, bearer(f.URL), pace, time.Second)
	err := create(t.Context(), c)
	wants(t, err, fault.Transient, "warmy_not_sent")
	if fault.Of(err).Outage || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	pace.err = &fault.Fault{Class: fault.LegDown, Code: "held", Cause: "c", Remedy: "r", Forecast: fault.ByTime}
	wants(t, create(t.Context(), c), fault.LegDown, "held")
	if len(f.got()) != 0 {
		t.Error("a call was made")
	}
}

func TestAShutdownBeforeThePostSendsNothingAndDuringItIsUnclear(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFake(t, nil)
	f.answer(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	c := client(t, f)
	err := create(ctx, c)
	wants(t, err, fault.Unclear, "warmy_interrupted")
	if fault.Of(err).Outage {
		t.Error("a shutdown would open the breaker")
	}
	err = create(ctx, c)
	wants(t, err, fault.Transient, "warmy_not_sent")
	if fault.Of(err).Outage || len(f.got()) != 1 {
		t.Error("a shutdown would open the breaker, or sent something")
	}
}

func TestAnUnknownAccountHoldsItsLeg(t *testing.T) {
	t.Parallel()
	_, err := client(t, newFake(t, nil)).Create(t.Context(), "other", mailboxOf())
	wants(t, err, fault.LegDown, "account_unknown")
}

func session(base string) warmy.Account {
	return warmy.Account{
		Name: "main", BaseURL: base, Auth: warmy.Session, UID: secret.New("uid@x"), Client: secret.New("client-id"),
		AccessToken: secret.New("t0"), HolderUID: "holder",
	}
}

func TestASessionFollowsItsRotatingTokenAndKeepsItOverABlankOne(t *testing.T) {
	t.Parallel()
	f := newFake(t, nil)
	c := newClient(t, session(f.URL), nil, time.Second)
	for _, next := range []string{"t1", " ", "", "t2"} {
		f.answer(say(200, `{"data":{"id":1}}`, "access-token", next, "Set-Cookie", "a=b"))
		if err := create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	f.answer(say(500, "", "access-token", "t3")) // rotates on failures, too
	wants(t, create(t.Context(), c), fault.Unclear, "warmy_5xx")
	f.answer(say(401, ""))
	wants(t, create(t.Context(), c), fault.LegDown, "warmy_session_ended")
	wants(t, create(t.Context(), c), fault.LegDown, "warmy_session_ended") // and no call is made for it
	var sent []string
	for _, call := range f.got() {
		sent = append(sent, call.header.Get("access-token"))
		if call.header.Get("uid") != "uid@x" || call.header.Get("client") != "client-id" || call.header.Get("Authorization") != "" || call.header.Get("Cookie") != "" {
			t.Errorf("headers = %v", call.header)
		}
	}
	if diff := cmp.Diff([]string{"t0", "t1", "t1", "t1", "t2", "t3"}, sent); diff != "" {
		t.Error(diff)
	}
}

func TestCallsOfASessionGoOneAfterTheOther(t *testing.T) {
	t.Parallel()
	inside := make(chan struct{}, 1)
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case inside <- struct{}{}:
			defer func() { <-inside }()
		default:
			t.Error("two calls of one session at once")
		}
		say(200, `{"data":{"id":1}}`)(w, r)
	})
	c := newClient(t, session(f.URL), nil, time.Second)
	failures := make(chan error)
	for range 16 {
		go func() { failures <- create(t.Context(), c) }()
	}
	for range 16 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}

func TestWaitingForASessionEndsWithTheContext(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		say(200, `{"data":{"id":1}}`)(w, r)
	})
	c := newClient(t, session(f.URL), nil, 5*time.Second)
	first := make(chan error)
	go func() { first <- create(t.Context(), c) }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wants(t, create(ctx, c), fault.Transient, "warmy_not_sent")
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestAReplacedAPIKeySignsTheNextCall(t *testing.T) {
	t.Parallel()
	f := newFake(t, say(http.StatusUnauthorized, "{}"))
	c := client(t, f)
	first := fault.Of(create(t.Context(), c))
	if !warmy.RefusedCredentials(first.Code) || warmy.RefusedCredentials("warmy_402") {
		t.Errorf("%s does not ask for another key", first.Code)
	}
	if err := c.ReplaceKey("main", secret.New("fresh-"+canary)); err != nil {
		t.Fatal(err)
	}
	_ = create(t.Context(), c)
	if got := f.got()[1].header.Get("Authorization"); got != "Bearer fresh-"+canary {
		t.Errorf("the second call is signed with another key")
	}
	if code := fault.Of(c.ReplaceKey("other", secret.New("x"))).Code; code != "account_unknown" {
		t.Errorf("an unknown account: %s", code)
	}
}
