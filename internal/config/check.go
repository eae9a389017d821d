package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// check judges what keys say together, completes what follows from others, and reports the rest.
func (l *loader) check(cfg *Config) {
	for i, name := range l.names["apps"] {
		l.checkApp(&cfg.Apps[i], cfg.Edge.PublicURL, "apps."+name+".")
	}
	for i, name := range l.names["accounts"] {
		l.checkAccount(&cfg.Accounts[i], "accounts."+name+".")
	}
	l.checkNATS(cfg.NATS)
	cfg.Defaults.App = l.reference("defaults.app", cfg.Defaults.App, l.names["apps"], "apps")
	cfg.Defaults.Account = l.reference("defaults.account", cfg.Defaults.Account, l.names["accounts"], "accounts")
	if p := cfg.Policy; p.RetryCap < p.RetryBase && !l.problems.bad("policy.retry_base", "policy.retry_cap") {
		l.tell("policy.retry_cap", fmt.Sprintf("is shorter than policy.retry_base, %s", short(p.RetryBase)), "raise it")
	}
}

// tell reports a fault of a key that had passed on its own.
func (l *loader) tell(key, reason, remedy string) { l.refuse(key, &note{reason, remedy}) }

// reference resolves a name of an item: a single one needs no naming.
func (l *loader) reference(key, name string, names []string, what string) string {
	switch {
	case name == "" && len(names) == 1:
		return names[0]
	case name != "" && !slices.Contains(names, name):
		l.tell(key, "names none of "+what, suggest(name, "", names, "known are "+strings.Join(names, ", ")))
	}
	return name
}

// checkNATS refuses to send events over a network in the clear, and a number of replicas that buys nothing.
func (l *loader) checkNATS(n NATS) {
	if n.Replicas%2 == 0 && !l.problems.bad("nats.replicas") {
		l.tell("nats.replicas", "is even, which survives no more lost servers than one less", "write 1, 3 or 5")
	}
	if n.URL == "" || n.AllowPlaintext || n.TLSCAFile != "" || l.problems.bad("nats.url") {
		return
	}
	for one := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err == nil && (u.Scheme == "nats" || u.Scheme == "ws") && !loopback(u.Hostname()) {
			l.tell("nats.url", "would send events in the clear to another host", "write tls:// or set nats.tls_ca_file; nats.allow_plaintext: true on a private network")
		}
	}
}

func (l *loader) checkApp(a *App, publicURL, key string) {
	l.checkRedirect(a, publicURL, key+"redirect_uri")
	l.checkCredentials(a, key)
	custom := map[string]string{key + "authority": a.Authority, key + "graph_url": a.GraphURL}
	for _, k := range []string{key + "authority", key + "graph_url"} {
		if custom[k] != "" && !a.AllowCustomAuthority && !l.problems.bad(k) {
			l.tell(k, "is not to be set: the address follows from the cloud, and whoever answers there gets the client secret",
				"leave it out; for a simulator set "+key+"allow_custom_authority: true")
		}
	}
	a.Authority, a.GraphURL = strings.TrimSuffix(a.Authority, "/"), strings.TrimSuffix(a.GraphURL, "/")
	if !l.problems.bad(key + "scopes") {
		l.checkScopes(a, key+"scopes")
	}
}

// checkCredentials wants a date for each secret or none at all, and both halves of a certificate. A process that is not
// given the secrets cannot count them.
func (l *loader) checkCredentials(a *App, key string) {
	secrets := max(len(a.ClientSecrets.files), len(a.ClientSecrets.inline))
	if given := len(a.ClientSecretExpires); given > 0 && secrets > 0 && given != secrets && !l.problems.bad(key+"client_secret_expires") {
		l.tell(key+"client_secret_expires", fmt.Sprintf("has %d dates for %d client secrets", given, secrets),
			"write one date for each, in the order of client_secret_file")
	}
	halves := map[string]string{"client_certificate_file": a.Certificate.certFile, "client_key_file": a.Certificate.keyFile}
	for half, other := range map[string]string{"client_certificate_file": "client_key_file", "client_key_file": "client_certificate_file"} {
		if halves[half] == "" && halves[other] != "" {
			l.tell(key+half, "is missing although "+other+" is set", "name both files, or neither")
		}
	}
}

// checkRedirect holds the redirect URI against where the edge really answers: consent sent elsewhere is lost, or stolen.
func (l *loader) checkRedirect(a *App, publicURL, key string) {
	if publicURL == "" {
		return
	}
	want := publicURL + "/oauth-callback/" + a.Name
	switch {
	case a.RedirectURI == "":
		a.RedirectURI = want
	case strings.Contains(a.RedirectURI, "*"):
		l.tell(key, "has a wildcard", "leave it out; it follows from edge.public_url")
	case a.RedirectURI != want:
		l.tell(key, "is not where the edge answers, "+want, "leave it out, and register that address in Azure")
	}
	if len(a.RedirectURI) > 256 && !l.problems.bad(key) {
		l.tell(key, "is longer than the 256 signs that Azure takes", "shorten edge.public_url or the app's name")
	}
}

func (l *loader) checkAccount(a *Account, key string) {
	l.checkHost(a, key)
	if a.CallsPerMinute > warmyLimit && !a.AllowCustomHost {
		l.tell(key+"calls_per_minute", fmt.Sprintf("is over Warmy's own limit of %d", warmyLimit), "write at most 60")
	}
	session := map[string]bool{
		"uid": a.UID != "", "client": a.Client != "", "access_token": a.AccessToken.Given(), "email": a.Email != "", "password": a.Password.Given(),
	}
	switch a.Auth {
	case AuthBearer:
		for _, k := range []string{"uid", "client", "access_token", "email", "password"} {
			if session[k] {
				l.tell(l.given(key+k), "belongs to auth: session, but auth is bearer", "keep one of the two ways")
			}
		}
	case AuthSession:
		if a.APIKey.Given() {
			l.tell(l.given(key+"api_key"), "belongs to auth: bearer, but auth is session", "keep one of the two ways")
		}
	}
}

// given is key, or its file's key if that is the one that was set.
func (l *loader) given(key string) string {
	if l.origin[key] == "" && l.origin[key+"_file"] != "" {
		return key + "_file"
	}
	return key
}

// checkHost keeps credentials from any host but Warmy's, unless the operator opened that door.
func (l *loader) checkHost(a *Account, key string) {
	u, err := url.Parse(a.BaseURL)
	if err != nil || a.AllowCustomHost || l.problems.bad(key+"base_url") {
		return
	}
	remedy := "write https://api.warmy.io, or leave it out; for a simulator set " + key + "allow_custom_host: true"
	switch {
	case u.Scheme != "https":
		l.tell(key+"base_url", "is not https", remedy)
	case u.Host != "api.warmy.io":
		l.tell(key+"base_url", "is not Warmy's host, and whoever answers there gets the API key", remedy)
	}
}

// entries lists the effective values for Show, with those that follow from others filled in.
func (l *loader) entries(cfg Config) []Entry {
	derived := map[string]string{"defaults.app": cfg.Defaults.App, "defaults.account": cfg.Defaults.Account}
	for _, a := range cfg.Apps {
		derived["apps."+a.Name+".redirect_uri"] = a.RedirectURI
	}
	var all []Entry
	for key, f := range l.all() {
		all = append(all, Entry{Key: key, Value: l.shown(key, f, derived), Origin: l.originOf(key)})
	}
	return all
}

func (l *loader) originOf(key string) string {
	if o := l.origin[key]; o != "" {
		return o
	}
	return "default"
}

func (l *loader) shown(key string, f field, derived map[string]string) string {
	if f.kind == hidden {
		if l.secrets[key].Empty() {
			return ""
		}
		return l.secrets[key].String()
	}
	switch v := l.raw.Get(key).(type) {
	case string:
		if v != "" {
			return v
		}
	case []string:
		return strings.Join(v, ",")
	}
	return derived[key]
}
