package warmyapi

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kindling/internal/sim/trouble"
)

// The defaults of devise_token_auth.
const (
	sessionLife = 14 * 24 * time.Hour
	batchWindow = 5 * time.Second
	maxDevices  = 10
)

// sessions are the signed-in clients of all users.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	live map[string]map[string]*session // by uid, by client
}

// session is one client's tokens: the current one, the one before, and the one
// before that, which is only good within the batch window.
type session struct {
	current, previous, last string
	created, updated        time.Time
	expires                 time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, live: map[string]map[string]*session{}}
}

// open makes a client; beyond the tenth, the oldest client loses its session.
func (s *sessions) open(uid string) (client string, out session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	client = rand.Text()
	if s.live[uid] == nil {
		s.live[uid] = map[string]*session{}
	}
	s.live[uid][client] = &session{current: rand.Text(), created: now, updated: now, expires: now.Add(sessionLife)}
	for len(s.live[uid]) > maxDevices {
		delete(s.live[uid], s.oldest(uid))
	}
	return client, *s.live[uid][client]
}

func (s *sessions) oldest(uid string) string {
	clients := make([]string, 0, len(s.live[uid]))
	for client := range s.live[uid] {
		clients = append(clients, client)
	}
	return slices.MinFunc(clients, func(a, b string) int {
		return cmp.Or(s.live[uid][a].created.Compare(s.live[uid][b].created), cmp.Compare(a, b))
	})
}

// use checks a token. rotated is the new one; blank tells that the call fell
// into the batch window, when the answer's token is one space.
func (s *sessions) use(uid, client, token string, rotate bool) (next session, blank, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, live := s.now(), s.live[uid][client]
	if live == nil || token == "" || now.After(live.expires) {
		return session{}, false, false
	}
	batch := now.Sub(live.updated) < batchWindow
	if token != live.current && token != live.previous && (!batch || token != live.last) {
		return session{}, false, false
	}
	if rotate && !batch {
		live.last, live.previous, live.current = live.previous, live.current, rand.Text()
		live.updated, live.expires = now, now.Add(sessionLife)
	}
	return *live, rotate && batch, true
}

// SignOutAll ends every session, as a password change does.
func (s *Server) SignOutAll() {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	clear(s.sessions.live)
}

func (s *Server) signIn(v *visit) trouble.Reply {
	var in struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	if v.Header.Get("holder-uid") != s.cfg.HolderUID || json.Unmarshal(v.body, &in) != nil {
		return badLogin()
	}
	known := slices.ContainsFunc(s.cfg.Logins, func(l Login) bool {
		return strings.EqualFold(l.Email, in.Email) && l.Password == in.Password
	})
	if !known {
		return badLogin()
	}
	uid := strings.ToLower(in.Email)
	client, live := s.sessions.open(uid)
	setSession(v.header, uid, client, live)
	return trouble.JSON(http.StatusOK, map[string]any{"data": map[string]any{
		"id": 1, "email": uid, "uid": uid, "provider": "email", "allow_password_change": false,
	}})
}

func badLogin() trouble.Reply {
	return trouble.JSON(http.StatusUnauthorized, map[string]any{
		"success": false, "errors": []string{"Invalid login credentials. Please try again."},
	})
}

func setSession(h http.Header, uid, client string, live session) {
	h.Set("Access-Token", live.current)
	h.Set("Token-Type", "Bearer")
	h.Set("Client", client)
	h.Set("Uid", uid)
	h.Set("Expiry", strconv.FormatInt(live.expires.Unix(), 10))
}

// authed lets an action run for a caller that is known.
func (s *Server) authed(next action) action {
	return func(v *visit) trouble.Reply {
		if status := s.authenticate(v); status == http.StatusForbidden {
			return trouble.JSON(status, wrong("You are not authorized to perform this action."))
		} else if status != 0 {
			return trouble.JSON(status, wrong("You need to sign in or sign up before continuing."))
		}
		return next(v)
	}
}

// authenticate returns the status of the refusal, or 0.
func (s *Server) authenticate(v *visit) int {
	bearer, isBearer := strings.CutPrefix(v.Header.Get("Authorization"), "Bearer ")
	uid, client := strings.ToLower(v.Header.Get("uid")), v.Header.Get("client")
	switch {
	case isBearer && !slices.Contains(s.cfg.APIKeys, bearer):
		return http.StatusUnauthorized
	case !isBearer:
		live, blank, ok := s.sessions.use(uid, client, v.Header.Get("access-token"), s.switches.Load().RotateTokens)
		if !ok {
			return http.StatusUnauthorized
		}
		setSession(v.header, uid, client, live)
		if blank {
			v.header.Set("Access-Token", " ")
			v.header.Set("Expiry", " ")
		}
	}
	switch v.Header.Get("holder-uid") {
	case s.cfg.HolderUID:
		return 0
	case "":
		return http.StatusUnauthorized
	default:
		return http.StatusForbidden
	}
}
