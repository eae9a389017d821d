package console

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
)

// route is one thing that can be asked of the console. role "" needs nobody signed in.
type route struct {
	method, pattern, role string
	early                 bool // answers before all facts are read
	answer                func(*request) error
}

// request is one request of somebody known.
type request struct {
	*http.Request

	w     http.ResponseWriter
	actor actor
	id    string // ties answer, audit trail and log together
}

const apiPrefix = "/api/v1"

func (c *Console) apiRoutes() []route {
	api := func(method, path, role string, answer func(*request) error) route {
		return route{method: method, pattern: apiPrefix + path, role: role, answer: answer}
	}
	early := func(r route) route {
		r.early = true
		return r
	}
	return []route{
		early(api("GET", "/openapi.yaml", Viewer, c.getOpenAPI)),
		api("GET", "/status", Viewer, c.getStatus),
		api("POST", "/campaigns", Worker, c.postCampaign),
		api("GET", "/campaigns", Viewer, c.getCampaigns),
		api("GET", "/campaigns/{id}", Viewer, c.getCampaign),
		api("GET", "/campaigns/{id}/links", Worker, c.getLinks),
		api("GET", "/campaigns/{id}/export", Worker, c.getExport),
		api("GET", "/campaigns/{id}/tenants", Viewer, c.getCampaignTenants),
		api("GET", "/campaigns/{id}/tenants/links", Worker, c.getTenantLinks),
		api("GET", "/tenants", Viewer, c.getTenants),
		api("POST", "/tenants/link", Worker, c.postTenantLink),
		api("GET", "/mailboxes", Viewer, c.getMailboxes),
		api("POST", "/mailboxes/find", Viewer, c.findMailboxes),
		api("POST", "/mailboxes/reinvite", Worker, c.postReinvites),
		api("POST", "/mailboxes/reconnect", Worker, c.postReconnect),
		api("GET", "/mailboxes/{id}", Viewer, c.getMailbox),
		api("GET", "/mailboxes/{id}/explain", Viewer, c.getExplanation),
		api("POST", "/mailboxes/{id}/reinvite", Worker, c.postReinvite),
		api("POST", "/mailboxes/{id}/accept-alias", Worker, c.postAcceptAlias),
		api("POST", "/mailboxes/{id}/adopt", Worker, c.postAdopt),
		api("POST", "/mailboxes/{id}/declare-absent", Worker, c.postDeclareAbsent),
		api("GET", "/dead", Viewer, c.getDead),
		api("GET", "/dead/{seq}", Viewer, c.getDeadLetter),
		api("POST", "/dead/replay", Worker, c.postReplay),
		api("POST", "/dead/discard", Admin, c.postDiscard),
		early(api("GET", "/replays", Viewer, c.getJobs)),
		early(api("GET", "/replays/{id}", Viewer, c.getJob)),
		early(api("POST", "/replays/{id}/cancel", Worker, c.postCancel)),
		early(api("POST", "/replays/{id}/resume", Worker, c.postResume)),
		early(api("GET", "/legs", Viewer, c.getLegs)),
		early(api("POST", "/legs/hold", Worker, c.postHold)),
		early(api("POST", "/legs/release", Worker, c.postRelease)),
	}
}

// mux registers every route and words the answers to paths and methods that there are not.
func (c *Console) mux() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range c.routes {
		mux.Handle(rt.method+" "+rt.pattern, c.serve(rt))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		allowed := methodsOf(mux, r)
		if len(allowed) == 0 {
			c.fail(r.Context(), c.newRequest(w, r), errNotThere("page"))
			return
		}
		allow := strings.Join(allowed, ", ")
		w.Header().Set("Allow", allow)
		c.fail(r.Context(), c.newRequest(w, r), problem(http.StatusMethodNotAllowed, "wrong_method", "this path does not know the method", "use "+allow))
	})
}

// methodsOf lists the methods that the path of r knows.
func methodsOf(mux *http.ServeMux, r *http.Request) []string {
	var known []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		probe := *r
		probe.Method = method
		if _, pattern := mux.Handler(&probe); pattern != "" {
			known = append(known, method)
		}
	}
	return known
}

func (c *Console) newRequest(w http.ResponseWriter, r *http.Request) *request {
	return &request{Request: r, w: w, id: rand.Text()}
}

// serve admits and answers.
func (c *Console) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := c.newRequest(w, r)
		w.Header().Set("X-Request-Id", req.id)
		if err := c.admitTo(rt, req); err != nil {
			c.fail(r.Context(), req, err)
			return
		}
		if err := rt.answer(req); err != nil {
			c.fail(r.Context(), req, err)
		}
	})
}

func (c *Console) admitTo(rt route, req *request) error {
	if rt.role == "" {
		return nil
	}
	who, err := c.identify(req.Request)
	if err != nil {
		return err
	}
	req.actor = who
	if rank(who.role) < rank(rt.role) {
		return errForbidden(rt.role)
	}
	if !rt.early && !c.roster.Ready() {
		return errCatchingUp()
	}
	return nil
}

// fail answers an error: as a problem to programs, as a page to people.
func (c *Console) fail(ctx context.Context, req *request, err error) {
	p := *asProblem(err)
	p.Request = req.id
	if p.Status >= http.StatusInternalServerError {
		c.cfg.Log.ErrorContext(ctx, "request_failed", "request", req.id, "code", p.Code, "error", p.cause)
	}
	if strings.HasPrefix(req.URL.Path, "/api/") {
		if p.Status == http.StatusUnauthorized {
			req.w.Header().Set("WWW-Authenticate", `Bearer realm="kindling"`)
		}
		writeProblem(req.w, &p)
		return
	}
	if p.Status == http.StatusUnauthorized {
		target := "/login"
		if req.Method == http.MethodGet && req.URL.Path != "/" {
			target += "?next=" + url.QueryEscape(req.URL.RequestURI())
		}
		http.Redirect(req.w, req.Request, target, http.StatusSeeOther)
		return
	}
	c.pages.problem(req, &p)
}

// secured sets the headers of every answer: nothing of the console is cached, framed, or runs foreign code.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Strict-Transport-Security", "max-age=63072000")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "")
		h.Set("X-Robots-Tag", "noindex")
		next.ServeHTTP(w, r)
	})
}

// Route is what a registered route is known by.
type Route struct{ Method, Pattern, Role string }

// Routes lists the registered routes, so that a description can be held against them.
func (c *Console) Routes() []Route {
	var all []Route
	for _, rt := range c.routes {
		all = append(all, Route{rt.method, rt.pattern, rt.role})
	}
	return all
}
