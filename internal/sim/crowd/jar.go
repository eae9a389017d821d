package crowd

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// jar keeps one owner's cookies by the rules a browser follows (RFC 6265bis).
// It differs in one point, to make loopback behave as the open internet does:
// every port is a site of its own, since in the wild every host is.
type jar struct {
	now     func() time.Time
	cookies map[string]*http.Cookie // by origin, path and name
}

func newJar(now func() time.Time) *jar {
	return &jar{now: now, cookies: map[string]*http.Cookie{}}
}

// keep stores the cookies of an answer. Plain HTTP counts as secure, because
// the crowd visits loopback only, where browsers hold it to be trustworthy.
func (j *jar) keep(from *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		if c.Path == "" || c.Path[0] != '/' {
			c.Path = defaultPath(from.Path)
		}
		key := from.Host + "|" + c.Path + "|" + c.Name
		switch {
		case !acceptable(c, from):
		case c.MaxAge < 0 || !c.Expires.IsZero() && c.MaxAge == 0 && c.Expires.Before(j.now()):
			delete(j.cookies, key)
		default:
			if c.MaxAge > 0 {
				c.Expires = j.now().Add(time.Duration(c.MaxAge) * time.Second)
			}
			j.cookies[key] = c
		}
	}
}

// acceptable reports whether a browser would keep the cookie.
func acceptable(c *http.Cookie, from *url.URL) bool {
	switch {
	case strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/" || c.Domain != ""):
		return false
	case strings.HasPrefix(c.Name, "__Secure-") && !c.Secure:
		return false
	case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		return false
	}
	return c.Domain == "" || strings.EqualFold(c.Domain, from.Hostname())
}

func defaultPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// give returns the cookies that go with a navigation.
func (j *jar) give(to *url.URL, method string, crossSite bool) []*http.Cookie {
	var out []*http.Cookie
	for key, c := range j.cookies {
		if !strings.HasPrefix(key, to.Host+"|") || !covers(c.Path, to.Path) {
			continue
		}
		if !c.Expires.IsZero() && c.Expires.Before(j.now()) {
			delete(j.cookies, key)
			continue
		}
		if !crossSite || travels(c.SameSite, method) {
			out = append(out, c)
		}
	}
	return out
}

// travels reports whether a cookie goes with a navigation from another site.
func travels(mode http.SameSite, method string) bool {
	switch mode {
	case http.SameSiteNoneMode:
		return true
	case http.SameSiteStrictMode:
		return false
	default: // lax, which is also what an absent attribute means
		return method == http.MethodGet || method == http.MethodHead
	}
}

func covers(cookie, path string) bool {
	if path == "" {
		path = "/"
	}
	return cookie == path || strings.HasPrefix(path, cookie) && (strings.HasSuffix(cookie, "/") || path[len(cookie)] == '/')
}
