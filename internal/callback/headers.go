package callback

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setHeaders sets what every public page carries. The pages load one style sheet and one icon of ours, run nothing, and
// are never framed, stored or indexed.
func (e *edge) setHeaders(h http.Header, route string) {
	h.Set("Content-Security-Policy", e.policy())
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "accelerometer=(), camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	h.Set("Referrer-Policy", "no-referrer")
	if route == "landing" || route == "admin_landing" {
		// Without a referrer the button's POST would come from the origin "null" and be refused.
		h.Set("Referrer-Policy", "same-origin")
	}
	if e.secure {
		h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
	}
}

// policy lists Microsoft's origins as targets of forms: Chrome applies form-action to the redirect after a POST.
func (e *edge) policy() string {
	origins := make([]string, 0, len(e.Apps))
	for _, app := range e.Apps {
		origins = append(origins, app.LoginOrigin)
	}
	slices.Sort(origins)
	targets := strings.Join(append([]string{"'self'"}, slices.Compact(origins)...), " ")
	return "default-src 'none'; style-src 'self'; img-src 'self'; form-action " + targets + "; base-uri 'none'; frame-ancestors 'none'"
}

// seconds rounds up: coming back too early would be refused again.
func seconds(d time.Duration) string {
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}
