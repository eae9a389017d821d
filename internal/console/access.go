package console

import (
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// actor is who makes a request.
type actor struct {
	name, role string
	session    string // hash of the session's cookie; empty with a bearer token
}

const (
	sessionLife   = 8 * time.Hour
	maxSessions   = 10_000
	sessionCookie = "kindling_console"
)

// identify tells who makes the request: the bearer token's owner, or the session's. A wrong token is never made up for
// by a cookie.
func (c *Console) identify(r *http.Request) (actor, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		token, ok := strings.CutPrefix(header, "Bearer ")
		if !ok {
			return actor{}, errSignIn("only bearer tokens are accepted")
		}
		o, err := c.admit(r, token)
		return actor{name: o.Name, role: o.Role}, err
	}
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return actor{}, errSignIn("nobody is signed in")
	}
	key := hashToken(cookie.Value)
	token, ok := c.sessions.token(key)
	if !ok {
		return actor{}, errSignIn("the session has ended")
	}
	o, ok := c.operators.find(token)
	if !ok {
		c.sessions.end(key)
		return actor{}, errSignIn("the session's operator is no longer known")
	}
	return actor{name: o.Name, role: o.Role, session: key}, nil
}

// admit finds the operator of a token and slows those down who guess.
func (c *Console) admit(r *http.Request, token string) (Operator, error) {
	from := remote(r)
	if c.guard.blocked(from) {
		p := problem(http.StatusTooManyRequests, "too_many_wrong_tokens", "too many wrong tokens came from this address", "wait a minute")
		p.after = time.Minute
		return Operator{}, p
	}
	o, ok := c.operators.find(hashToken(token))
	if !ok {
		c.guard.wrong(from)
		return Operator{}, errSignIn("the token is not known")
	}
	return o, nil
}

func errSignIn(detail string) *Problem {
	return problem(http.StatusUnauthorized, "not_signed_in", detail,
		"send 'Authorization: Bearer kdl_…' or sign in at /login; an admin makes tokens with 'kindling operator add'")
}

func errForbidden(need string) *Problem {
	return problem(http.StatusForbidden, "not_allowed", "this needs the role "+need, "ask somebody who has it")
}

// signIn exchanges a token for a session and its cookie. An existing session of the browser ends.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request, token string) (Operator, error) {
	o, err := c.admit(r, strings.TrimSpace(token))
	if err != nil {
		return Operator{}, err
	}
	c.signOut(w, r)
	value := c.sessions.start(o.Hash)
	http.SetCookie(w, newCookie(r, value, int(sessionLife.Seconds())))
	return o, nil
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(cookieName(r)); err == nil {
		c.sessions.end(hashToken(cookie.Value))
	}
	http.SetCookie(w, newCookie(r, "", -1))
}

func newCookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure but for plain HTTP with the own machine, where browsers would refuse it
		Name: cookieName(r), Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: !onLoopback(r),
	}
}

// cookieName has the prefix that binds a cookie to this host and to TLS. Only plain HTTP on the own machine, where
// browsers would refuse such a cookie, goes without.
func cookieName(r *http.Request) string {
	if onLoopback(r) {
		return sessionCookie
	}
	return "__Host-" + sessionCookie
}

// onLoopback reports whether the browser speaks plain HTTP with its own machine.
func onLoopback(r *http.Request) bool {
	if r.TLS != nil {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// sessions are the browsers that are signed in, known by the hash of their cookie.
type sessions struct {
	now func() time.Time
	mu  sync.Mutex
	all map[string]session
}

type session struct {
	token string // hash of the operator's token: who loses it loses the session
	ends  time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: map[string]session{}}
}

// start makes a session and returns the cookie's value.
func (s *sessions) start(token string) string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	value := base64.RawURLEncoding.EncodeToString(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.all) >= maxSessions {
		s.sweep(now)
	}
	s.all[hashToken(value)] = session{token: token, ends: now.Add(sessionLife)}
	return value
}

// sweep forgets ended sessions, and all of them if that is not enough: signing in again is cheap, memory is not.
func (s *sessions) sweep(now time.Time) {
	for key, one := range s.all {
		if now.After(one.ends) {
			delete(s.all, key)
		}
	}
	if len(s.all) >= maxSessions {
		clear(s.all)
	}
}

func (s *sessions) token(key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[key]
	if !ok || s.now().After(one.ends) {
		delete(s.all, key)
		return "", false
	}
	return one.token, true
}

func (s *sessions) end(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, key)
}

// guard counts wrong tokens by address within the current minute.
type guard struct {
	now    func() time.Time
	mu     sync.Mutex
	minute int64
	wrongs map[string]int
}

const (
	maxWrong   = 20      // wrong tokens of one address in a minute
	maxGuarded = 100_000 // addresses remembered; more than that in a minute is an attack that a proxy must stop
)

func newGuard(now func() time.Time) *guard {
	return &guard{now: now, wrongs: map[string]int{}}
}

func (g *guard) blocked(from string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	return g.wrongs[from] >= maxWrong
}

func (g *guard) wrong(from string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	if len(g.wrongs) < maxGuarded {
		g.wrongs[from]++
	}
}

func (g *guard) turn() {
	if minute := g.now().Unix() / 60; minute != g.minute {
		g.minute = minute
		clear(g.wrongs)
	}
}
