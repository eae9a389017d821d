// Package config reads what an operator sets: kindling.yaml, overridden by KINDLING_* variables, overridden by flags.
//
// It promises that every problem is reported at once, each with its key, its place and a remedy; that a key or a
// variable nobody knows is refused, with a suggestion; that no secret is read before a role needs it and that none is
// ever printed. The keys, their defaults and bounds stand in one table (schema.go); deployments/kindling.example.yaml
// explains them.
//
// Environment variables are named after the keys: edge.public_url is KINDLING_EDGE_PUBLIC_URL. An item of a list is
// named after its name: client_secret of the app "main" is KINDLING_APP_MAIN_CLIENT_SECRET, api_key of the account
// "east-1" is KINDLING_ACCOUNT_EAST_1_API_KEY. Lists are separated by commas. An empty variable counts as not set,
// except for a secret, where it is an error.
package config

import "time"

// Config is the effective configuration. Load returns it complete and consistent; what a role cannot do without is
// checked by Require. Fields that hold a duration or a limit are within the bounds of the schema.
type Config struct {
	NATS     NATS
	Edge     EdgeSettings
	Console  ConsoleSettings
	Metrics  Metrics
	Keys     Keys
	Apps     []App     // in the order of the file
	Accounts []Account // in the order of the file
	Defaults Defaults
	Policy   Policy

	entries []Entry
}

// NATS says how to reach the message store.
type NATS struct {
	URL            string `koanf:"url"`        // empty: `kindling up` embeds a server; comma-separated for a cluster
	CredsFile      string `koanf:"creds_file"` // credentials of this process's NATS user
	TLSCAFile      string `koanf:"tls_ca_file"`
	AllowPlaintext bool   `koanf:"allow_plaintext"` // no TLS although the server is not on this host
	Replicas       int    `koanf:"replicas"`        // of the streams that are made: 1, 3 or 5
	MonitoringURL  string `koanf:"monitoring_url"`  // of each server, comma-separated; empty: what it tells is not known
	AllowUnsynced  bool   `koanf:"allow_unsynced"`  // work although the server acknowledges before the disk has it
}

// EdgeSettings are the public side: consent pages and the OAuth callback.
type EdgeSettings struct {
	Listen            string        `koanf:"listen"`
	PublicURL         string        `koanf:"public_url"`          // scheme and host only, no slash at the end
	MetricsListen     string        `koanf:"metrics_listen"`      // empty: none
	ResponseMode      string        `koanf:"response_mode"`       // form_post or query; empty: by the scheme of PublicURL
	LinkLife          time.Duration `koanf:"link_life"`           // of a consent link
	StartPrompt       string        `koanf:"start_prompt"`        // what Microsoft asks first
	RequestsPerSecond float64       `koanf:"requests_per_second"` // per client network, sustained
}

// ConsoleSettings are the operators' side.
type ConsoleSettings struct {
	Listen        string `koanf:"listen"`
	MetricsListen string `koanf:"metrics_listen"` // empty: none
	OperatorsFile string `koanf:"operators_file"` // who may do what
}

// Metrics is the listener for health and metrics that is not public.
type Metrics struct {
	Listen string `koanf:"listen"` // empty: none
}

// Keys says where the keysets are.
type Keys struct {
	Dir string `koanf:"dir"`
}

// App is an Azure app registration.
type App struct {
	Name          string `koanf:"name"`
	Cloud         string `koanf:"cloud"`     // public, usgov, usgov-dod or china
	Tenant        string `koanf:"tenant"`    // organizations, common, consumers, a GUID or a domain
	ClientID      string `koanf:"client_id"` // a GUID, lower case; with Issuer, whatever that calls the app
	ClientSecrets Secret `koanf:"-"`         // one, or several while they are rotated
	// ClientSecretExpires are the days, at 0:00 UTC, on which the secrets end, in their order; nil: not known.
	ClientSecretExpires  []time.Time `koanf:"-"`
	Certificate          Certificate `koanf:"-"` // proves the app at Microsoft instead of its secrets
	RedirectURI          string      `koanf:"redirect_uri"`
	Scopes               []string    `koanf:"scopes"`
	Authority            string      `koanf:"authority"` // empty: that of Cloud. Only with AllowCustomAuthority
	GraphURL             string      `koanf:"graph_url"` // empty: that of Cloud. Only with AllowCustomAuthority
	Issuer               string      `koanf:"issuer"`    // of an OpenID provider that stands in for Microsoft. Only with AllowCustomAuthority
	AllowCustomAuthority bool        `koanf:"allow_custom_authority"`
}

// Ways to authenticate at Warmy.
const (
	AuthBearer  = "bearer"  // an API key
	AuthSession = "session" // uid, client and access-token, or a sign-in with e-mail and password
)

// Account is a Warmy workspace.
type Account struct {
	Name            string `koanf:"name"`
	BaseURL         string `koanf:"base_url"` // scheme and host only, no slash at the end
	Auth            string `koanf:"auth"`     // AuthBearer or AuthSession
	APIKey          Secret `koanf:"-"`        // with AuthBearer
	UID             string `koanf:"uid"`      // with AuthSession, as Client and AccessToken: a session to begin with
	Client          string `koanf:"client"`
	AccessToken     Secret `koanf:"-"`
	Email           string `koanf:"email"` // with AuthSession, as Password: signs in when there is no session
	Password        Secret `koanf:"-"`
	HolderUID       string `koanf:"holder_uid"`
	CallsPerMinute  int    `koanf:"calls_per_minute"` // for the whole fleet; at most 60 unless AllowCustomHost
	Activate        bool   `koanf:"activate"`         // starts the warm-up of what was registered
	WebhookSecret   Secret `koanf:"-"`                // in the address of its webhooks; not given: none are taken
	AllowCustomHost bool   `koanf:"allow_custom_host"`
}

// Defaults hold for campaigns that do not say otherwise.
type Defaults struct {
	App              string `koanf:"app"`                 // empty only if there are several apps
	Account          string `koanf:"account"`             // empty only if there are several accounts
	TariffPlanTypeID int    `koanf:"tariff_plan_type_id"` // Warmy's id; 0: every campaign must name one
	SpeedMode        string `koanf:"speed_mode"`          // slow, medium or fast
}

// Policy says how patient the workers are.
type Policy struct {
	ReconcileAfter time.Duration `koanf:"reconcile_after"` // from an unclear registration to the listing that settles it
	RefreshMargin  time.Duration `koanf:"refresh_margin"`  // an access token with less life is refreshed before a registration
	RetryBase      time.Duration `koanf:"retry_base"`      // the first wait; each next one may be twice as long
	RetryCap       time.Duration `koanf:"retry_cap"`       // the longest wait
	MaxAttempts    int           `koanf:"max_attempts"`    // then a dead letter
	HoldFor        time.Duration `koanf:"hold_for"`        // how long a leg rests when its fault does not say

	Refresh            string        `koanf:"refresh"`              // off, keepalive or always: which grants are refreshed unasked
	KeepAliveAfter     time.Duration `koanf:"keepalive_after"`      // with keepalive: how long a grant may be idle
	RefreshesPerMinute int           `koanf:"refreshes_per_minute"` // of one app, for the whole fleet; 0: as many as can be
}

// App returns the app called name, and whether there is one.
func (c Config) App(name string) (App, bool) {
	for _, a := range c.Apps {
		if a.Name == name {
			return a, true
		}
	}
	return App{}, false
}

// Account returns the account called name, and whether there is one.
func (c Config) Account(name string) (Account, bool) {
	for _, a := range c.Accounts {
		if a.Name == name {
			return a, true
		}
	}
	return Account{}, false
}

// Entry is one effective setting, ready to be shown.
type Entry struct {
	Key    string
	Value  string // "***" for a secret
	Origin string // FILE:LINE, the variable's name, "flag" or "default"; empty unless asked for
}

// Show lists every setting in the order of the schema, with secrets redacted. Files of secrets are named, not read.
func (c Config) Show(origin bool) []Entry {
	shown := make([]Entry, len(c.entries))
	copy(shown, c.entries)
	if !origin {
		for i := range shown {
			shown[i].Origin = ""
		}
	}
	return shown
}
