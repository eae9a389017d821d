package callback_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/callback"
	"kindling/internal/events"
	"kindling/internal/mailbox"
)

// What stood in no other table of the bad-input catalogue; badinput_index_test.go says which test holds which entry.

func TestFurtherMalformedAnswersTouchNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, raw   string
		query, form int
	}{
		{"state of 5 KB", "code=a&state=S" + strings.Repeat("A", 5<<10), 400, 400},
		// The catalogue wants 400. The sizes are judged first: nobody counts what is too long to be read.
		{"10,001 parameters", "code=a&state=S" + strings.Repeat("&x=1", 10_001), 414, 413},
		{"1,001 parameters", "code=a&state=S" + strings.Repeat("&x=1", 1_001), 400, 400},
	} {
		r := newRig(t, "https://connect.example")
		a := r.press()
		before := r.claims.get(mailboxID)
		raw := strings.Replace(tc.raw, "state=S", "state="+a.state, 1)
		for _, got := range []struct {
			want   int
			answer *http.Response
		}{{tc.query, r.get(callPath+"?"+raw, a.cookie)}, {tc.form, r.do(r.request(http.MethodPost, callPath, raw, a.cookie))}} {
			if got.answer.StatusCode != got.want || len(got.answer.Cookies()) != 0 {
				t.Errorf("%s: %d instead of %d", tc.name, got.answer.StatusCode, got.want)
			}
			r.untouched(tc.name, before, 0, bodyOf(t, got.answer))
		}
	}
}

func TestAWayOutOfTheCallbackLeadsNowhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	before := r.claims.get(mailboxID)
	for _, path := range []string{
		"/oauth-callback/../console", "/oauth-callback/..%2fconsole", "/oauth-callback/main/../../console", "/oauth-callback/%2e%2e/console",
		"/oauth-callback/main%00", "/oauth-callback/main%2f", "/oauth-callback/main;x=1", "/oauth-callback//main",
	} {
		answer := r.get(path+"?code=a&state="+a.state, a.cookie)
		if answer.StatusCode != http.StatusNotFound || answer.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", path, answer.StatusCode, answer.Header.Get("Location"))
		}
		r.untouched(path, before, 0, bodyOf(t, answer))
	}
}

// otherID is a second mailbox, of another owner.
const otherID = "bbcdefghijklmnopqrstuvwx"

// inviteOther invites the second mailbox, and presses its button.
func (r *rig) inviteOther() attempt {
	r.t.Helper()
	theirs := otherID + link[24:]
	r.invitations.set(otherID, func(i *mailbox.Invitation) {
		*i = r.invitations.facts[mailboxID] // the lock is held
		i.ID, i.LinkHash = otherID, mailbox.Hash(theirs)
	})
	answer := r.do(r.request(http.MethodPost, "/c/"+theirs+"/start", ""))
	to, err := answer.Location()
	must(r.t, err)
	return attempt{state: to.Query().Get("state"), cookie: answer.Cookies()[0]}
}

func TestTheStateOfAnotherInvitationIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	mine, theirs := r.press(), r.inviteOther()
	before := r.claims.get(mailboxID)
	for name, cookie := range map[string]*http.Cookie{
		"my cookie":                 mine.cookie,
		"my cookie under its name":  {Name: theirs.cookie.Name, Value: mine.cookie.Value},
		"its cookie under my name":  {Name: mine.cookie.Name, Value: theirs.cookie.Value},
		"a cookie that is too long": {Name: theirs.cookie.Name, Value: strings.Repeat("A", 8<<10)},
	} {
		answer := r.get(callPath+"?code=a&state="+theirs.state, cookie)
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
		r.untouched(name, before, 0, bodyOf(t, answer))
	}
	if claim := r.claims.get(otherID); claim.Attempts[0].CodeHash != "" {
		t.Error("the other mailbox's attempt was answered")
	}
}

func TestABrowserThatFetchesAheadOrGoesBackIsThankedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	target := callPath + "?code=a&state=" + a.state
	ahead := r.request(http.MethodGet, target, "", a.cookie)
	ahead.Header.Set("Sec-Purpose", "prefetch;prerender")
	for name, answer := range map[string]*http.Response{"ahead": r.do(ahead), "in earnest": r.get(target, a.cookie), "back": r.get(target, a.cookie)} {
		if answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/done/") {
			t.Errorf("%s: %d to %q", name, answer.StatusCode, answer.Header.Get("Location"))
		}
	}
	for _, e := range r.publisher.list() {
		if e.ID != r.publisher.list()[0].ID {
			t.Error("two events for one answer")
		}
	}
}

func TestWhoRefusesCookiesIsToldSo(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	answer := r.get(callPath + "?code=a&state=" + r.press().state)
	if text := bodyOf(t, answer); answer.StatusCode != http.StatusForbidden || !strings.Contains(text, "allow cookies for this site") {
		t.Errorf("%d\n%s", answer.StatusCode, text)
	}
}

func TestAnInvitationThatWasDeletedIsNotFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	a := r.press()
	delete(r.invitations.facts, mailboxID)
	delete(r.invitations.revisions, mailboxID)
	unknown := bodyOf(t, r.get("/c/"+strings.Repeat("b", 24)+link[24:]))
	answer := r.get("/c/" + link)
	if text := bodyOf(t, answer); answer.StatusCode != http.StatusNotFound || upTo(text, "Reference") != upTo(unknown, "Reference") {
		t.Errorf("%d\n%s", answer.StatusCode, text)
	}
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusGone || len(r.publisher.list()) != 0 {
		t.Errorf("its attempt ends with %d", answer.StatusCode)
	}
}

func upTo(text, mark string) string { head, _, _ := strings.Cut(text, mark); return head }

// Whoever looks at a link, a person or a machine, sees the same page and changes nothing.
func TestEveryVisitorOfALinkSeesTheSamePage(t *testing.T) {
	t.Parallel()
	r := newRig(t, "https://connect.example")
	first := upTo(bodyOf(t, r.get("/c/"+link)), "Reference")
	for name, change := range map[string]func(*http.Request){
		"Safe Links": func(q *http.Request) { q.Header.Set("User-Agent", "Mozilla/5.0 (Windows NT 10.0) SafeLinks") },
		"chat preview": func(q *http.Request) {
			q.Header.Set("User-Agent", "SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com")
		},
		"another country":  func(q *http.Request) { q.RemoteAddr = "203.0.113.9:4711"; q.Header.Set("Accept-Language", "ja") },
		"no Accept at all": func(q *http.Request) { q.Header.Del("Accept") },
		"framed":           func(q *http.Request) { q.Header.Set("Sec-Fetch-Dest", "iframe") },
		"a cookie of ours": func(q *http.Request) { q.AddCookie(&http.Cookie{Name: "__Host-a-AAAAAAAA", Value: "x"}) },
		"another method":   func(q *http.Request) { q.Header.Set("X-Http-Method-Override", "POST") },
		"prerendered":      func(q *http.Request) { q.Header.Set("Sec-Purpose", "prefetch;prerender") },
	} {
		req := r.request(http.MethodGet, "/c/"+link, "")
		change(req)
		answer := r.do(req)
		if text := upTo(bodyOf(t, answer), "Reference"); answer.StatusCode != http.StatusOK || text != first {
			t.Errorf("%s: %d, another page", name, answer.StatusCode)
		}
	}
	if len(r.claims.facts) != 0 {
		t.Error("an attempt was started")
	}
}

// stuck is a publisher whose acknowledgement never comes while it is.
type stuck struct {
	*publisher

	is atomic.Bool
}

func (s *stuck) Publish(ctx context.Context, e events.Event) error {
	if s.is.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.publisher.Publish(ctx, e)
}

func TestAnAcknowledgementThatDoesNotComeIsNotWaitedForLongerThanFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := &stuck{publisher: &publisher{}}
		r := newRig(t, "https://connect.example", func(c *callback.Config) { c.Publisher = silent })
		a := r.press()
		silent.is.Store(true)
		began := time.Now()
		answer := r.come(a, withCode(code))
		if took := time.Since(began); answer.StatusCode != http.StatusServiceUnavailable || took != 5*time.Second {
			t.Errorf("%d after %s", answer.StatusCode, took)
		}
		silent.is.Store(false)
		if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther || len(silent.list()) != 1 {
			t.Errorf("afterwards %d, %d events", answer.StatusCode, len(silent.list()))
		}
	})
}

// noKey is a sealer whose keyset is not there.
type noKey struct {
	box

	missing atomic.Bool
}

func (k *noKey) Seal(plain []byte, associated string) ([]byte, error) {
	if k.missing.Load() {
		return nil, errors.New("no key")
	}
	return k.box.Seal(plain, associated)
}

func TestWithoutAKeyNoStateIsUsedUp(t *testing.T) {
	t.Parallel()
	codes, cookies := &noKey{box: newBox(t)}, &noKey{box: newBox(t)}
	r := newRig(t, "https://connect.example", func(c *callback.Config) { c.Codes, c.Cookies = codes, cookies })
	a := r.press()
	for name, key := range map[string]*noKey{"codes": codes, "cookies": cookies} {
		key.missing.Store(true)
		if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
		key.missing.Store(false)
	}
	if answer := r.come(a, withCode(code)); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("afterwards %d", answer.StatusCode)
	}
	cookies.missing.Store(true)
	if answer := r.do(r.request(http.MethodPost, "/c/"+link+"/start", "")); answer.StatusCode != http.StatusServiceUnavailable || len(r.claims.get(mailboxID).Attempts) != 1 {
		t.Errorf("a start without a key: %d", answer.StatusCode)
	}
}
