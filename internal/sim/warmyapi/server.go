// Package warmyapi simulates the part of Warmy's API that the product uses:
// mailboxes, tariff plans and sessions, with Warmy's limits and manners.
//
// Warmy documents little. Whatever it leaves open is a switch here, and its
// zero value the likelier reading. Every call is kept in a ledger, so that a
// test can prove that no mailbox was created twice and no minute held more
// calls than allowed.
package warmyapi

import (
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"kindling/internal/sim/journal"
	"kindling/internal/sim/trouble"
)

// GuideHolder is the holder-uid that Warmy's guide shows to everybody.
const GuideHolder = "a66a9a755fe16f24fcb99dc8b5f25a50"

// Config says what exists at the simulated Warmy.
type Config struct {
	// HolderUID is the workspace; empty means GuideHolder.
	HolderUID string
	// APIKeys are accepted as bearer tokens.
	APIKeys []string
	// Logins may sign in for a session.
	Logins []Login
	// Plans are the tariff plan types; nil means ids 1 and 41.
	Plans []Plan
	// Inspect tries the tokens of a mailbox, as Warmy does by logging in: whose
	// mailbox it is, and whether the tokens work. Nil accepts all tokens.
	Inspect func(accessToken, refreshToken string) (address string, works bool)
	// Switches are the first settings; Apply changes them later.
	Switches Switches
	// Rules are the first troubles.
	Rules []trouble.Rule
	// Latency and Jitter delay every answer.
	Latency, Jitter time.Duration
	// Seed makes the draws of rules repeatable.
	Seed uint64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Journal is the file that remembers the mailboxes, so that a server opened
	// with it again goes on with them; empty means memory only.
	Journal string
}

// Login is a user of the workspace.
type Login struct{ Email, Password string }

// Plan is a tariff plan type.
type Plan struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// What a second POST for the same address does.
const (
	// DuplicateUpdates answers with the id that exists (the default).
	DuplicateUpdates = "update"
	// DuplicateRefused answers 422 "has already been taken".
	DuplicateRefused = "refuse"
	// DuplicateSecond creates a second mailbox.
	DuplicateSecond = "second"
)

// Switches are the points on which Warmy is silent.
type Switches struct {
	// CallsPerMinute bounds all calls in any sliding minute; 0 means 60, a
	// negative number no bound.
	CallsPerMinute int `json:"calls_per_minute"`
	// RetryAfter is sent with a 429, verbatim; empty sends none. "auto" sends
	// the seconds until the next call will be accepted.
	RetryAfter string `json:"retry_after"`
	// Duplicate is one of the Duplicate words.
	Duplicate string `json:"duplicate"`
	// StartPaused makes a new mailbox wait for "activate!".
	StartPaused bool `json:"start_paused"`
	// PlainText answers `success` where an endpoint has nothing to tell.
	PlainText bool `json:"plain_text"`
	// RotateTokens changes the access-token of a session on every call outside
	// the five-second window, as devise_token_auth does.
	RotateTokens bool `json:"rotate_tokens"`
	// OtherAddress keeps a new mailbox under this address, and says so, as a
	// Warmy does that derives it from the tokens; empty keeps the posted one.
	OtherAddress string `json:"other_address"`
	// RequireEmail refuses a mailbox without an email field.
	RequireEmail bool `json:"require_email"`
	// ListingLag keeps a new mailbox out of listings for a while.
	ListingLag trouble.Duration `json:"listing_lag"`
	// Outage answers every call with this status: 502 as a proxy's page, and 1
	// by tearing the connection down. 0 is no outage.
	Outage int `json:"outage"`
}

// Server is the simulated Warmy; it is an http.Handler, safe for concurrent use.
type Server struct {
	cfg      Config
	troubles *trouble.Book
	switches atomic.Pointer[Switches]
	sessions *sessions
	store    *store
	pace     *pace
	mux      *http.ServeMux
	guarded  http.Handler
}

// New is Open for a configuration that cannot be wrong, and panics if it is:
// for a server without a journal, which need not be closed.
func New(cfg Config) *Server {
	s, err := Open(cfg)
	if err != nil {
		panic("warmyapi: " + err.Error())
	}
	return s
}

// Open returns a server for the configuration. It is an error when a rule is
// unknown, and when the journal cannot be read.
func Open(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HolderUID == "" {
		cfg.HolderUID = GuideHolder
	}
	if cfg.Plans == nil {
		cfg.Plans = []Plan{{1, "Starter"}, {41, "Business"}}
	}
	s := &Server{
		cfg: cfg, troubles: trouble.NewBook(cfg.Seed, nil, ops()),
		sessions: newSessions(cfg.Now), store: newStore(), pace: &pace{}, mux: http.NewServeMux(),
	}
	s.switches.Store(&cfg.Switches)
	s.troubles.Pace(cfg.Latency, cfg.Jitter)
	if err := s.troubles.Set(cfg.Rules); err != nil {
		return nil, err
	}
	memory, err := journal.Open(cfg.Journal, s.store.apply, s.store.remains)
	if err != nil {
		return nil, err
	}
	s.routes()
	s.store.journal, s.guarded = memory, memory.Guard(s.mux)
	return s, nil
}

// Close releases the journal; the server must not be used afterwards. It
// returns the error that stopped the journal, if any.
func (s *Server) Close() error { return s.store.journal.Close() }

func (s *Server) routes() {
	s.mux.HandleFunc("POST /api/v1/auth/sign_in", s.call(OpSignIn, s.signIn))
	s.mux.HandleFunc("GET /api/v2/tariff_plan_types", s.call(OpPlans, s.authed(s.plans)))
	s.mux.HandleFunc("POST /api/v2/mailboxes", s.call(OpCreate, s.authed(s.create)))
	s.mux.HandleFunc("GET /api/v2/mailboxes", s.call(OpList, s.authed(s.list)))
	s.mux.HandleFunc("GET /api/v2/mailboxes/{id}", s.call(OpGet, s.authed(s.get)))
	s.mux.HandleFunc("DELETE /api/v2/mailboxes/{id}", s.call(OpDelete, s.authed(s.remove)))
	s.mux.HandleFunc("PUT /api/v2/mailboxes/{id}/update_state", s.call(OpState, s.authed(s.updateState)))
	s.mux.HandleFunc("PUT /api/v2/mailboxes/{id}/change_tariff_plan", s.call(OpTariff, s.authed(s.changePlan)))
	s.mux.HandleFunc("GET /_sim/ledger", s.serveLedger)
	s.mux.HandleFunc("GET /_sim/faults", trouble.Serve(s.troubles, &s.switches))
	s.mux.HandleFunc("POST /_sim/faults", trouble.Serve(s.troubles, &s.switches))
	s.mux.HandleFunc(trouble.TrapPath, s.trap)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.guarded.ServeHTTP(w, r) }

func (s *Server) trap(w http.ResponseWriter, _ *http.Request) {
	s.store.count("trap", "followed")
	trouble.Text(http.StatusTeapot, "a redirect was followed that must not be").Write(w)
}

func (s *Server) now() time.Time { return s.cfg.Now() }

// visit is one call on its way through the server.
type visit struct {
	*http.Request
	body    []byte
	address string
	rule    trouble.Rule
	// header is added to the answer: rotated session tokens.
	header http.Header
	// post is the ledger's entry when the call creates a mailbox.
	post Post
}

// action does what a call asks for.
type action func(v *visit) trouble.Reply

// call puts pace, outage and trouble around an action.
func (s *Server) call(op string, act action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := readBody(w, r)
		if err != nil {
			trouble.JSON(http.StatusRequestEntityTooLarge, wrong("request body is too large")).Write(w)
			return
		}
		v := &visit{Request: r, body: body, header: http.Header{}}
		if op == OpCreate {
			v.address = s.creating(body)
		}
		s.troubles.Lag(r.Context())
		v.post.At = s.now()
		reply := s.decide(op, act, v)
		s.record(op, v, reply)
		v.rule.Play(w, r, reply)
	}
}

// decide finds the answer and what is to go wrong with it.
func (s *Server) decide(op string, act action, v *visit) trouble.Reply {
	sw := s.switches.Load()
	if sw.Outage != 0 {
		v.rule = outage(sw.Outage)
		s.pace.arrive(v.post.At, -1)
		return trouble.Reply{}
	}
	if wait, ok := s.pace.arrive(v.post.At, sw.CallsPerMinute); !ok {
		return throttled(sw.RetryAfter, wait)
	}
	v.rule = s.troubles.Next(op, v.address)
	if v.rule.Kind == trouble.Delay {
		trouble.Wait(v.Context(), time.Duration(v.rule.Delay))
	}
	if v.rule.Wire() && !v.rule.Commit {
		return trouble.Reply{}
	}
	reply := act(v)
	maps.Copy(reply.Header, v.header)
	if v.rule.Kind == trouble.Answer {
		v.rule.Body = strings.ReplaceAll(v.rule.Body, "{id}", idText(v.post.ID))
	}
	return reply
}

func outage(status int) trouble.Rule {
	switch status {
	case 1:
		return trouble.Rule{Kind: trouble.Reset}
	case http.StatusBadGateway:
		return trouble.Rule{Kind: trouble.BadGateway}
	default:
		return trouble.Rule{Kind: trouble.Answer, Status: status, Body: "We are down for maintenance"}
	}
}

// record writes the call into the ledger.
func (s *Server) record(op string, v *visit, reply trouble.Reply) {
	outcome := idText(int64(reply.Status))
	if v.rule.Wire() {
		outcome = string(v.rule.Kind)
	}
	s.store.count(op, outcome)
	if op == OpCreate {
		v.post.Outcome, v.post.Delivered = outcome, !v.rule.Lost()
		s.store.posted(v.address, v.post)
	}
}
