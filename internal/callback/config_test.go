package callback_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"kindling/internal/callback"
)

func TestAnUnusableConfigurationIsRefusedWithEveryReason(t *testing.T) {
	t.Parallel()
	app := func(change func(*callback.App)) func(*callback.Config) {
		return func(c *callback.Config) {
			a := c.Apps["main"]
			change(&a)
			c.Apps = maps.Clone(c.Apps)
			c.Apps["main"] = a
		}
	}
	for _, tc := range []struct {
		says   string
		change func(*callback.Config)
	}{
		{"public URL: must be https", func(c *callback.Config) { c.PublicURL = "http://connect.example" }},
		{"public URL: must be https", func(c *callback.Config) { c.PublicURL = "ftp://localhost" }},
		{"public URL: must be a scheme and a host", func(c *callback.Config) { c.PublicURL = "" }},
		{"public URL: must be a scheme and a host", func(c *callback.Config) { c.PublicURL = "https://connect.example/base" }},
		{"public URL: must be a scheme and a host", func(c *callback.Config) { c.PublicURL = "https://connect.example?x=1" }},
		{"public URL: must be a scheme and a host", func(c *callback.Config) { c.PublicURL = "https://a:b@connect.example" }},
		{"public URL: must be a scheme and a host", func(c *callback.Config) { c.PublicURL = "https://%zz" }},
		{"response mode: must be", func(c *callback.Config) { c.ResponseMode = "fragment" }},
		{"form_post needs an https", func(c *callback.Config) { c.PublicURL, c.ResponseMode = "http://127.0.0.1:1", callback.FormPost }},
		{"attempt life", func(c *callback.Config) { c.AttemptLife = time.Hour }},
		{"attempt life", func(c *callback.Config) { c.AttemptLife = time.Second }},
		{"claims: missing", func(c *callback.Config) { c.Claims, c.Publisher = nil, nil }},
		{"publisher: missing", func(c *callback.Config) { c.Claims, c.Publisher = nil, nil }},
		{"refusal: missing", func(c *callback.Config) { c.Refusal = nil }},
		{"app main: login origin", app(func(a *callback.App) { a.LoginOrigin = "https://login.microsoftonline.com/" })},
		{"app main: login origin", app(func(a *callback.App) { a.LoginOrigin = "'unsafe-inline'" })},
		{"app main: login origin", app(func(a *callback.App) { a.LoginOrigin = "" })},
		{"app main: authorize URL", app(func(a *callback.App) { a.AuthorizeURL = nil })},
		{"app main: authorize URL", app(func(a *callback.App) { a.Tenant = "" })},
		{"app main: authorize URL", app(func(a *callback.App) { a.AdminConsentURL = nil })},
		{`app "UP": not a name`, func(c *callback.Config) { c.Apps = map[string]callback.App{"UP": c.Apps["main"]} }},
	} {
		config := newRig(t, "https://connect.example").config
		tc.change(&config)
		if _, err := callback.New(config); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("New() = %v, want %q", err, tc.says)
		}
	}
}

func TestEveryAnswerIsCounted(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	r := newRig(t, "https://connect.example", func(c *callback.Config) {
		c.Observe = func(_ context.Context, route, outcome string) {
			mu.Lock()
			defer mu.Unlock()
			seen[route+" "+outcome]++
		}
	})
	r.get("/c/" + link)
	a := r.press()
	r.come(a, withCode(code))
	r.come(a, withCode(code))
	r.get(r.come(a, withCode(code)).Header.Get("Location"))
	r.get(callPath)
	for _, want := range []string{"landing shown", "start started", "callback accepted", "callback repeated", "done code_received", "callback malformed"} {
		if seen[want] == 0 {
			t.Errorf("%q was not counted: %v", want, seen)
		}
	}
}
