package callback

import (
	"context"
	"encoding/base32"
	"io"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// The sizes that no honest request exceeds: a code is some 1.5 KB, an error description less than 1 KB.
const (
	maxURL  = 8 << 10
	maxBody = 16 << 10
)

// reply is what a handler wants to be answered. Handlers return values; write alone touches the connection.
type reply struct {
	status   int
	page     *page          // what is shown, or
	location string         // where the browser goes next (303)
	cookies  []*http.Cookie //
	outcome  string         // of a closed set: what is counted and logged
	mailbox  string         // opaque id, for the log
	retry    time.Duration  // when to come back; 0: not said
	allow    string         // with 405
	err      error          // our own failure, for the log
}

type handler func(r *http.Request) reply

// routes joins the handlers. Every route answers every method itself, so that no answer is the library's own.
func (e *edge) routes() http.Handler {
	origin := http.NewCrossOriginProtection()
	mux := http.NewServeMux()
	mux.HandleFunc("/c/{link}", e.serve("landing", e.only("GET, HEAD", e.landing)))
	mux.HandleFunc("/c/{link}/start", e.serve("start", e.only("POST", e.limited(sameOrigin(origin, e.start)))))
	mux.HandleFunc("/oauth-callback/{app}", e.serve("callback", e.knownApp(e.only("GET, POST", e.limited(e.answer)))))
	mux.HandleFunc("/admin-consent/{token}", e.serve("admin_landing", e.only("GET, HEAD", e.adminLanding)))
	mux.HandleFunc("/admin-consent/{token}/start", e.serve("admin_start", e.only("POST", e.limited(sameOrigin(origin, e.adminStart)))))
	mux.HandleFunc("/admin-done/{token}", e.serve("admin_done", e.only("GET, HEAD", e.adminDone)))
	mux.HandleFunc("/done/{token}", e.serve("done", e.only("GET, HEAD", e.done)))
	mux.HandleFunc("/warmy/{secret}", e.serve("warmy", e.only("POST", e.limited(e.hint))))
	mux.HandleFunc("/static/{file}", e.static)
	mux.HandleFunc("/", e.serve("other", notFound))
	return e.guard(mux)
}

// guard refuses what no route should see, and bounds how long the stores may take.
func (e *edge) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse := func(kind string) { e.write(w, r, "other", refusal(kind)) }
		switch {
		case !strings.EqualFold(r.Host, e.base.Host):
			refuse("wrong_host")
		case len(r.RequestURI) > maxURL || len(r.URL.Path)+len(r.URL.RawQuery) > maxURL:
			refuse("url_too_long")
		case !strings.HasPrefix(r.URL.Path, "/") || path.Clean(r.URL.Path) != r.URL.Path:
			refuse("not_found") // the mux would answer by itself: redirect, and repeat the query in doing so
		default:
			ctx, cancel := context.WithTimeout(r.Context(), storeTime)
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		}
	})
}

func (e *edge) serve(route string, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { e.write(w, r, route, h(r)) }
}

func (e *edge) only(methods string, next handler) handler {
	allowed := strings.Split(methods, ", ")
	return func(r *http.Request) reply {
		if !slices.Contains(allowed, r.Method) {
			refused := refusal("method")
			refused.allow = methods
			return refused
		}
		return next(r)
	}
}

func (e *edge) limited(next handler) handler {
	return func(r *http.Request) reply {
		if wait := e.limiter.take(clientNetwork(r, e.TrustedProxies)); wait > 0 {
			refused := refusal("too_fast")
			refused.retry = wait
			return refused
		}
		return next(r)
	}
}

func (e *edge) knownApp(next handler) handler {
	return func(r *http.Request) reply {
		if _, ok := e.Apps[r.PathValue("app")]; !ok {
			return refusal("not_found")
		}
		return next(r)
	}
}

// sameOrigin refuses a press of the button that another site's page made.
func sameOrigin(origin *http.CrossOriginProtection, next handler) handler {
	return func(r *http.Request) reply {
		if err := origin.Check(r); err != nil {
			return refusal("cross_origin")
		}
		return next(r)
	}
}

func notFound(*http.Request) reply { return refusal("not_found") }

// form reads a form body, or says why it cannot be one. Browsers say how long a form is; a body that comes in chunks
// may be one of two lengths that a proxy before us read differently.
func form(r *http.Request) (raw, problem string) {
	if len(r.TransferEncoding) > 0 {
		return "", "malformed"
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return "", "content_type"
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case len(body) > maxBody:
		return "", "too_large"
	case err != nil:
		return "", "malformed"
	}
	return string(body), ""
}

// write answers, counts and logs.
func (e *edge) write(w http.ResponseWriter, r *http.Request, route string, a reply) {
	header := w.Header()
	e.setHeaders(header, route)
	for _, c := range a.cookies {
		http.SetCookie(w, c)
	}
	if a.allow != "" {
		header.Set("Allow", a.allow)
	}
	if a.retry > 0 {
		header.Set("Retry-After", seconds(a.retry))
	}
	reference := e.reference()
	e.Observe(r.Context(), route, a.outcome)
	e.record(r.Context(), route, reference, a)
	if a.location != "" {
		header.Set("Location", a.location)
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	if a.page == nil {
		w.WriteHeader(a.status)
		return
	}
	a.page.Reference = reference
	text, err := e.pages.render(a.page)
	if err != nil {
		e.Log.ErrorContext(r.Context(), "page not rendered", "route", route, "reference", reference, "error", err)
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(a.status)
	_, _ = w.Write(text) // the browser may be gone
}

// record logs what an operator may have to look up by the reference that an owner reads out.
func (e *edge) record(ctx context.Context, route, reference string, a reply) {
	level := slog.LevelDebug
	switch {
	case a.err != nil || a.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case a.status >= http.StatusBadRequest:
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{
		slog.String("route", route), slog.String("outcome", a.outcome), slog.Int("status", a.status), slog.String("reference", reference),
	}
	if a.mailbox != "" {
		attrs = append(attrs, slog.String("mailbox", a.mailbox))
	}
	if a.err != nil {
		attrs = append(attrs, slog.Any("error", a.err))
	}
	e.Log.LogAttrs(ctx, level, "edge answered", attrs...)
}

// reference makes the short id that ties a page to a line of the log. It is no secret and names nobody.
func (e *edge) reference() string {
	raw := make([]byte, 5)
	if _, err := io.ReadFull(e.Rand, raw); err != nil {
		return "none"
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw))
}
