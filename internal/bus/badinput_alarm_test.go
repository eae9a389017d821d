package bus_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/events"
)

// canary stands in every secret of these tests, and may stand nowhere afterwards.
const canary = "CANARY0123456789abcdefghij"

func TestAReadableSecretIsErasedWithAnAlarm(t *testing.T) { //nolint:tparallel // what it sends goes through one lane, one after the other
	t.Parallel()
	p := newPlant(t)
	p.run(t)
	p.invite(t, "mb1", "main")
	p.grant(t, "mb1")
	good := proven("mb1")
	valid, subject := encoded(t, good), good.Subject()
	extra := func(field string) string { return strings.Replace(valid, `{"v":1`, `{`+field+`,"v":1`, 1) }
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOi" + canary + ".c2lnbmF0dXJl"
	unsealed := func(text string) string {
		e := p.code(t, "mb1", "0.code", time.Now())
		e.Sealed = []byte(text)
		return encoded(t, e)
	}
	codeSubject := p.code(t, "mb1", "0.code", time.Now()).Subject()
	for _, bad := range []struct { //nolint:paralleltest // one after the other
		name    string
		subject string
		payload string
		headers []string
		where   string
	}{
		{name: "plaintext code", subject: subject, payload: extra(`"code":"0.AX` + canary + `"`), where: "payload"},
		{name: "plaintext code of a consumer account", subject: subject, payload: extra(`"x":"M.C546_BL2.0.U.-` + canary + `"`), where: "payload"},
		{name: "plaintext code as an opaque field", subject: subject, payload: extra(`"code":"` + canary + `"`), where: "payload"},
		{name: "plaintext code as a query", subject: subject, payload: "code=" + canary + "&state=x", where: "payload"},
		{name: "plaintext code where sealed bytes belong", subject: codeSubject, payload: unsealed("0.AX" + canary), where: "sealed"},
		{name: "plaintext consent where sealed bytes belong", subject: codeSubject, payload: unsealed(`{"code":"` + canary + `"}`), where: "sealed"},
		{name: "plaintext token", subject: subject, payload: extra(`"token":"` + jwt + `"`), where: "payload"},
		{name: "plaintext refresh token", subject: subject, payload: extra(`"refresh_token":"` + canary + `"`), where: "payload"},
		{name: "plaintext access token in no JSON", subject: subject, payload: "Bearer " + canary, where: "payload"},
		{name: "plaintext client secret", subject: subject, payload: extra(`"client_secret":"` + canary + `"`), where: "payload"},
		{name: "plaintext token of a newer version", subject: subject, payload: `{"v":9,"access_token":"` + canary + `"}`, where: "payload"},
		{name: "e-mail in subject", subject: "kindling.register.main.s1." + canary + "@example.com", payload: valid, where: "subject"},
		{name: "secret-like header", subject: subject, payload: valid, headers: []string{"Authorization", "Basic " + canary}, where: "header"},
		{name: "secret-like header in other letters", subject: subject, payload: valid, headers: []string{"x-API-key", canary}, where: "header"},
		{name: "token in a header of another name", subject: subject, payload: valid, headers: []string{"X-Note", jwt}, where: "header"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			before, alarms := len(deadLetters(t, p.Bus)), p.counted.of("alarm")
			p.send(t, bad.subject, bad.payload, bad.headers...)
			letter := p.letter(t, before+1)
			if letter.Code != "secret_exposed" || !strings.Contains(letter.Cause, "in the "+bad.where) || letter.Payload() != nil {
				t.Errorf("%s: %s, with %q", letter.Code, letter.Cause, letter.Payload())
			}
			p.empty(t, "REGISTER")
			p.empty(t, "CODE")
			eventually(t, "the alarm is counted", func() bool { return p.counted.of("alarm") == alarms+1 })
		})
	}
	if n := strings.Count(p.log.String(), `"level":"ERROR","msg":"security_alarm"`); n < 15 {
		t.Errorf("%d alarms in the log", n)
	}
	if log := p.log.String(); strings.Contains(log, canary) {
		t.Errorf("the log shows a secret: %s", log)
	}
	p.send(t, "$KV.campaigns.control", "stays "+canary[:10])
	if len(filesWith(t, p.dir, "stays "+canary[:10])) == 0 {
		t.Error("this search finds nothing on the disk, whatever is there")
	}
	if left := filesWith(t, p.dir, canary); len(left) > 0 {
		t.Errorf("still on the disk: %v", left)
	}
	p.flows(t) // nothing of ours is taken for a secret
	if n := p.counted.of("alarm"); n != 15 {
		t.Errorf("%d alarms", n)
	}
}

// filesWith lists the files under dir that hold text. What the server takes away meanwhile holds nothing any more.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(data, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// An alarm whose letter cannot be stored erases nothing: who erases without a word hides a leak.
func TestAnAlarmWaitsForItsDeadLetter(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	if err := bus.LimitStream(t.Context(), p.Bus, "DEAD", 1); err != nil {
		t.Fatal(err)
	}
	p.run(t)
	subject := event(events.RegistrationRequested, "mb1").Subject()
	p.send(t, subject, `{"access_token":"`+canary+`"}`)
	eventually(t, "the alarm", func() bool { return strings.Contains(p.log.String(), "secret_not_erased") })
	if n, err := bus.Waiting(t.Context(), p.Bus, "REGISTER"); err != nil || n != 1 {
		t.Errorf("%d messages left, %v", n, err)
	}
}
