package config

import (
	"slices"
	"strings"
	"time"
)

// kind is the form of a value.
type kind uint8

const (
	text     kind = iota
	list          // of texts
	integer       // within low and high
	decimal       // within low and high
	duration      // within least and most
	toggle        // true or false
	hidden        // a secret: never in the file, never a flag, never printed
)

// field is one key.
type field struct {
	key         string
	kind        kind
	fallback    string // as in the environment; empty: the zero value
	low, high   int
	least, most time.Duration
	rule        func(value string) *note // for texts, and for each text of a list; not asked about an empty optional one
	required    bool                     // if the key is set, it must not be empty
	quiet       bool                     // never print the value: people paste secrets here
}

// section is a table of keys; one with items is a list of such tables, told apart by their names.
type section struct {
	key    string
	item   string // how the environment calls one item: APP of apps; empty: no list
	fields []field
}

// The bounds of calls to Warmy per minute: its own limit, and one for simulators.
const (
	warmyLimit     = 60
	simulatorLimit = 1_000_000
)

const day = 24 * time.Hour

// schema is the table of all keys. Defaults and bounds come with their reasons.
func schema() []section {
	return []section{
		{key: "nats", fields: []field{
			{key: "url", rule: natsURL},
			{key: "creds_file"},
			{key: "tls_ca_file"},
			{key: "allow_plaintext", kind: toggle},
			// Three survive the loss of one server; the first start decides for streams that do not exist yet.
			{key: "replicas", kind: integer, fallback: "1", low: 1, high: 5},
			{key: "monitoring_url", rule: monitoringURL},
			{key: "allow_unsynced", kind: toggle},
		}},
		{key: "edge", fields: []field{
			{key: "listen", fallback: ":8080", rule: address, required: true},
			{key: "public_url", rule: publicURL, required: true},
			{key: "metrics_listen", fallback: "127.0.0.1:9101", rule: address},
			{key: "response_mode", rule: oneOf("form_post", "query")},
			// A week is what people need who were on holiday; a link older than a month is a lost one.
			{key: "link_life", kind: duration, fallback: "168h", least: time.Minute, most: 30 * day},
			// Without it a signed-in operator consents as himself.
			{key: "start_prompt", fallback: "select_account", rule: oneOf("select_account", "login", "consent")},
			// A whole office may share one address.
			{key: "requests_per_second", kind: decimal, fallback: "20", low: 1, high: 100_000},
		}},
		{key: "console", fields: []field{
			{key: "listen", fallback: "127.0.0.1:8090", rule: address, required: true},
			{key: "metrics_listen", fallback: "127.0.0.1:9104", rule: address},
			{key: "operators_file"},
		}},
		{key: "metrics", fields: []field{{key: "listen", fallback: "127.0.0.1:9102", rule: address}}},
		{key: "keys", fields: []field{{key: "dir"}}},
		{key: "apps", item: "APP", fields: []field{
			{key: "name", rule: itemName, required: true},
			{key: "cloud", fallback: "public", rule: oneOf("public", "usgov", "usgov-dod", "china"), required: true},
			{key: "tenant", fallback: "organizations", rule: tenant, required: true},
			{key: "client_id", required: true, quiet: true}, // a GUID, unless issuer is set: see checkApp
			{key: "client_secret", kind: hidden},
			{key: "client_secret_file", kind: list, required: true},
			{key: "client_secret_expires", kind: list, rule: date, required: true},
			{key: "client_certificate_file"},
			{key: "client_key_file"},
			{key: "redirect_uri"},
			{key: "scopes", kind: list, fallback: "openid,profile,email,offline_access,User.Read,Mail.Send,Mail.ReadWrite,Mail.Read", rule: scope, required: true},
			{key: "authority", rule: baseURL},
			{key: "graph_url", rule: baseURL},
			{key: "issuer", rule: issuer},
			{key: "allow_custom_authority", kind: toggle},
		}},
		{key: "accounts", item: "ACCOUNT", fields: []field{
			{key: "name", rule: itemName, required: true},
			{key: "base_url", fallback: "https://api.warmy.io", rule: baseURL, required: true},
			{key: "auth", fallback: AuthBearer, rule: oneOf(AuthBearer, AuthSession), required: true},
			{key: "api_key", kind: hidden},
			{key: "api_key_file", required: true},
			{key: "uid", quiet: true},
			{key: "client", quiet: true},
			{key: "access_token", kind: hidden},
			{key: "access_token_file", required: true},
			{key: "email", rule: word, quiet: true},
			{key: "password", kind: hidden},
			{key: "password_file", required: true},
			// The same constant in the vendor's guide and in every public client.
			{key: "holder_uid", fallback: "a66a9a755fe16f24fcb99dc8b5f25a50", rule: word, required: true, quiet: true},
			// Warmy allows 60; the rest is for the operator's own look into the workspace.
			{key: "calls_per_minute", kind: integer, fallback: "55", low: 1, high: simulatorLimit},
			{key: "activate", kind: toggle},
			{key: "webhook_secret", kind: hidden},
			{key: "webhook_secret_file"},
			{key: "allow_custom_host", kind: toggle},
		}},
		{key: "defaults", fields: []field{
			{key: "app"},
			{key: "account"},
			{key: "tariff_plan_type_id", kind: integer, low: 1, high: 1 << 31},
			{key: "speed_mode", fallback: "fast", rule: oneOf("slow", "medium", "fast"), required: true},
		}},
		{key: "policy", fields: []field{
			// Warmy lists a mailbox late; two listings this far apart must both lack it before it is posted again.
			{key: "reconcile_after", kind: duration, fallback: "60s", least: 100 * time.Millisecond, most: time.Hour},
			// Access tokens live 60 minutes and more, by a tenant's policy 10.
			{key: "refresh_margin", kind: duration, fallback: "10m", least: time.Second, most: 45 * time.Minute},
			{key: "retry_base", kind: duration, fallback: "2s", least: 10 * time.Millisecond, most: 5 * time.Minute},
			{key: "retry_cap", kind: duration, fallback: "5m", least: 10 * time.Millisecond, most: 6 * time.Hour},
			{key: "max_attempts", kind: integer, fallback: "10", low: 1, high: 1000},
			{key: "refresh", fallback: "keepalive", rule: oneOf("off", "keepalive", "always"), required: true},
			// Microsoft forgets a refresh token after 90 idle days. What is due may be a tenth late, and a worker away for weeks.
			{key: "keepalive_after", kind: duration, fallback: "600h", least: time.Hour, most: 60 * day},
			// Ten a second keep some 20 million mailboxes alive, and are nothing that Microsoft would notice.
			{key: "refreshes_per_minute", kind: integer, fallback: "600", low: 1, high: 1_000_000},
			{key: "hold_for", kind: duration, fallback: "30s", least: 100 * time.Millisecond, most: time.Hour},
		}},
	}
}

// find returns the field called key, and whether there is one.
func (s section) find(key string) (field, bool) {
	i := slices.IndexFunc(s.fields, func(f field) bool { return f.key == key })
	if i < 0 {
		return field{}, false
	}
	return s.fields[i], true
}

func (s section) keys() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.key
	}
	return names
}

// variable is the environment's name of a key of this section; item is empty outside lists.
func (s section) variable(item, key string) string {
	parts := []string{envPrefix + strings.ToUpper(s.key), key}
	if s.item != "" {
		parts = []string{envPrefix + s.item, strings.ReplaceAll(item, "-", "_"), key}
	}
	return strings.ToUpper(strings.Join(parts, "_"))
}
