package bench

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
)

// attempt is one owner's attempt at consent, and the code that Microsoft would send, or has sent.
type attempt struct {
	callback

	code string
}

func (a attempt) answer() url.Values {
	return url.Values{"code": {a.code}, "state": {a.state}, "session_state": {"0a1b2c3d"}}
}

// forgery is a callback that no owner has sent, made from one that an owner could have sent.
type forgery struct {
	method, path string
	query        string // raw
	body         string // raw, of a form; empty: none
	kind         string // of the body; empty: a form's
	cookie       *http.Cookie
}

// forger makes forgeries. It is no stranger to the owners: it knows their states, cookies and codes, and has one thing
// wrong at a time.
type forger struct {
	*rand.Rand

	open []attempt // under way: whatever is taken for one of them is taken wrongly
	done []attempt // answered: only their own answer may come again, and then changes nothing
}

// ways are the kinds of forgery, in the order in which they are made.
func ways() []struct {
	name string
	make func(forger) forgery
} {
	return []struct {
		name string
		make func(forger) forgery
	}{
		{"another state", forger.wrongState},
		{"another cookie", forger.wrongCookie},
		{"no code", forger.wrongCode},
		{"parameters", forger.wrongParameters},
		{"another app", forger.wrongApp},
		{"another request", forger.wrongRequest},
		{"a replay", forger.replay},
		{"noise", forger.noise},
	}
}

func oneOf[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// get is the attempt's answer as a GET, with the given cookie.
func get(query string, cookie *http.Cookie) forgery {
	return forgery{method: http.MethodGet, path: "/oauth-callback/main", query: query, cookie: cookie}
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// other is another letter than c.
func (f forger) other(c byte) byte {
	for {
		if o := base64url[f.IntN(len(base64url))]; o != c {
			return o
		}
	}
}

// changed is s with one letter changed.
func (f forger) changed(s string) string {
	text, i := []byte(s), f.IntN(len(s))
	text[i] = f.other(text[i])
	return string(text)
}

func (f forger) random(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = base64url[f.IntN(len(base64url))]
	}
	return string(text)
}

func (f forger) wrongState() forgery {
	a, answer := oneOf(f.Rand, f.open), url.Values{}
	answer.Set("code", a.code)
	switch f.IntN(6) {
	case 0:
		answer.Set("state", f.changed(a.state))
	case 1:
		answer.Set("state", a.state[:f.IntN(len(a.state))])
	case 2:
		answer.Set("state", a.state+f.random(1+f.IntN(40)))
	case 3:
		answer.Set("state", f.random(43))
	case 4:
		answer.Set("state", strings.ToUpper(a.state)+"=")
	case 5: // none
	}
	return get(answer.Encode(), a.cookie)
}

func (f forger) wrongCookie() forgery {
	a := oneOf(f.Rand, f.open)
	value := ""
	switch f.IntN(6) {
	case 0:
		return get(a.answer().Encode(), nil)
	case 1:
		b := oneOf(f.Rand, f.done)
		return get(a.answer().Encode(), b.cookie)
	case 2:
		value = oneOf(f.Rand, f.done).cookie.Value
	case 3:
		value = f.changed(a.cookie.Value[:len(a.cookie.Value)-1]) // without the last letter, whose last bits may not count
	case 4:
		value = a.cookie.Value[:f.IntN(len(a.cookie.Value))]
	case 5:
		value = f.random(len(a.cookie.Value))
	}
	return get(a.answer().Encode(), &http.Cookie{Name: a.cookie.Name, Value: value}) //nolint:gosec // a browser sends no attributes
}

// wrongCode comes in the right browser with the right state: only the code keeps it out.
func (f forger) wrongCode() forgery {
	a := oneOf(f.Rand, f.open)
	raw := oneOf(f.Rand, []string{
		"", "%20", "%20%20", "a%00b", "a%0d%0aSet-Cookie:x=y", "a b", "a+b", "%ff%fe", "%F0%9F%94%A5", "%zz", "a%4", "a;b", "%7F", "%C2%A0",
		strings.Repeat("a", 4097), "a&code=b", "a&code=a", "a&error=access_denied", "%E2%80%AEa", "%0A",
	})
	return get("state="+a.state+"&code="+raw, a.cookie)
}

func (f forger) wrongParameters() forgery {
	a := oneOf(f.Rand, f.open)
	good := a.answer().Encode()
	wrong := oneOf(f.Rand, []string{
		good + "&state=" + a.state, good + "&code=" + a.code, good + "&x=%zz", good + ";x=1", good + "&&", good + "&=1", good + "&%ff=1",
		good + "&iss=x&iss=x", good + "&iss=https%3A%2F%2Fevil.example%2Ft%2Fv2.0", good + "&iss=", good + "&error=server_error",
		strings.Replace(good, "code=", "Code=", 1), strings.Replace(good, "code=", "code[]=", 1), strings.Replace(good, "&state=", "&%2573tate=", 1),
		good + strings.Repeat("&x"+f.random(4)+"=1", 40), "", "state=" + a.state,
	})
	return get(wrong, a.cookie)
}

func (f forger) wrongApp() forgery {
	a := oneOf(f.Rand, f.open)
	wrong := get(a.answer().Encode(), a.cookie)
	wrong.path = oneOf(f.Rand, []string{"/oauth-callback/other", "/oauth-callback/other", "/oauth-callback/nobody", "/oauth-callback/MAIN", "/oauth-callback/main/", "/oauth-callback/"})
	return wrong
}

func (f forger) wrongRequest() forgery {
	a := oneOf(f.Rand, f.open)
	wrong, good := get(a.answer().Encode(), a.cookie), a.answer().Encode()
	switch f.IntN(5) {
	case 0:
		wrong.method = oneOf(f.Rand, []string{http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodHead})
	case 1:
		wrong.method, wrong.query, wrong.body = http.MethodPost, "", good
		wrong.kind = oneOf(f.Rand, []string{"application/json", "text/plain", "multipart/form-data; boundary=x"})
	case 2:
		wrong.method, wrong.body = http.MethodPost, good // the answer twice: in the query and in the form
	case 3:
		wrong.method, wrong.query, wrong.body = http.MethodPost, "", good+"&x="+strings.Repeat("a", 17<<10)
	case 4:
		wrong.query += "&x=" + strings.Repeat("a", 9<<10)
	}
	return wrong
}

// replay comes for an attempt that was answered. Its own answer is thanked for again, and stored as little as any other.
func (f forger) replay() forgery {
	a := oneOf(f.Rand, f.done)
	answer := a.answer()
	switch f.IntN(4) {
	case 0:
		return get(answer.Encode(), a.cookie)
	case 1:
		answer.Set("code", f.changed(a.code))
	case 2:
		answer = url.Values{"state": {a.state}, "error": {oneOf(f.Rand, []string{"access_denied", "server_error", "foo"})}}
	case 3:
		return get(answer.Encode(), nil)
	}
	return get(answer.Encode(), a.cookie)
}

// noise changes some bytes of an answered attempt's form, whatever comes out.
func (f forger) noise() forgery {
	a := oneOf(f.Rand, f.done)
	text := []byte(a.answer().Encode())
	for range 1 + f.IntN(4) {
		text[f.IntN(len(text))] = byte(f.IntN(256)) //nolint:gosec // below 256
	}
	return forgery{method: http.MethodPost, path: "/oauth-callback/main", body: string(text), cookie: a.cookie}
}

// request is the forgery as it goes to the edge at base.
func (g forgery) request(base string) (*http.Request, error) {
	var body *strings.Reader
	if g.body != "" {
		body = strings.NewReader(g.body)
	}
	req, err := newRequest(g.method, base+g.path, body)
	if err != nil {
		return nil, fmt.Errorf("forge a callback: %w", err)
	}
	req.URL.RawQuery = g.query
	if g.cookie != nil {
		req.AddCookie(g.cookie)
	}
	if g.body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if g.kind != "" {
			req.Header.Set("Content-Type", g.kind)
		}
	}
	return req, nil
}
