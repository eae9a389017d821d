package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
)

// Every value that a key refuses, with the words an operator reads.
func TestBadValuesAreRefused(t *testing.T) {
	t.Parallel()
	const (
		edge, app, account = "edge: {public_url: \"https://c.example\", %}", "edge: {public_url: \"https://c.example\"}\napps: [{name: main, %}]", "accounts: [{name: main, %}]"
		units              = " (write a number and a unit, as in 90s, 10m or 168h)"
		public             = " (write as in https://connect.example.com)"
		custom             = "is not to be set: the address follows from the cloud, and whoever answers there gets the client secret " +
			"(leave it out; for a simulator set apps.main.allow_custom_authority: true)"
		warmy = " (write https://api.warmy.io, or leave it out; for a simulator set accounts.main.allow_custom_host: true)"
		redir = " (leave it out, and register that address in Azure)"
		ends  = " (end it after the host)"

		graphOnly = " (keep those of Microsoft Graph: User.Read Mail.Send Mail.ReadWrite, beside openid profile offline_access)"
	)
	for name, c := range map[string]struct{ in, set, want string }{
		// durations
		"a duration without unit":     {edge, "link_life: 10", "edge.link_life = \"10\": has no unit (write 10s, 10m or 10h)"},
		"a negative duration":         {edge, "link_life: -5s", "edge.link_life = \"-5s\": is not between 1m and 720h"},
		"a duration of zero":          {"policy: {%}", "retry_base: 0s", "policy.retry_base = \"0s\": is not between 10ms and 5m"},
		"a bare zero":                 {"policy: {%}", "retry_base: 0", "policy.retry_base = \"0\": has no unit (write 10s, 10m or 10h)"},
		"a billion hours":             {edge, "link_life: 1000000000h", "edge.link_life = \"1000000000h\": is not a duration" + units},
		"a link life over 30 days":    {edge, "link_life: 721h", "edge.link_life = \"721h\": is not between 1m and 720h"},
		"days":                        {edge, "link_life: 7d", "edge.link_life = \"7d\": is not a duration" + units},
		"a word as duration":          {edge, "link_life: week", "edge.link_life = \"week\": is not a duration" + units},
		"an empty duration":           {edge, "link_life: \"\"", "edge.link_life: is not a duration" + units},
		"a refresh margin too long":   {"policy: {%}", "refresh_margin: 2h", "policy.refresh_margin = \"2h\": is not between 1s and 45m"},
		"an unknown refresh":          {"policy: {%}", "refresh: keepalife", "policy.refresh = \"keepalife\": is not one of off, keepalive, always (did you mean keepalive?)"},
		"a grant forgotten":           {"policy: {%}", "keepalive_after: 2000h", "policy.keepalive_after = \"2000h\": is not between 1h and 1440h"},
		"no refreshes":                {"policy: {%}", "refreshes_per_minute: 0", "policy.refreshes_per_minute = \"0\": is not between 1 and 1000000"},
		"a breaker of zero":           {"policy: {%}", "hold_for: 0s", "policy.hold_for = \"0s\": is not between 100ms and 1h"},
		"a cap below the base":        {"policy: {%}", "retry_base: 10s, retry_cap: 5s", "policy.retry_cap = \"5s\": is shorter than policy.retry_base, 10s (raise it)"},
		"a base over the default cap": {"policy: {%}", "retry_base: 5m, retry_cap: 299s", "policy.retry_cap = \"299s\": is shorter than policy.retry_base, 5m (raise it)"},

		// types and numbers
		"no attempts":                 {"policy: {%}", "max_attempts: 0", "policy.max_attempts = \"0\": is not between 1 and 1000"},
		"negative attempts":           {"policy: {%}", "max_attempts: -1", "policy.max_attempts = \"-1\": is not between 1 and 1000"},
		"a word as number":            {"policy: {%}", "max_attempts: many", "policy.max_attempts = \"many\": is not a whole number (write a number from 1 to 1000)"},
		"a broken number":             {"policy: {%}", "max_attempts: 4.5", "policy.max_attempts = \"4.5\": is not a whole number (write a number from 1 to 1000)"},
		"a number out of all bounds":  {"policy: {%}", "max_attempts: 99999999999999999999", "policy.max_attempts = \"99999999999999999999\": is not a whole number (write a number from 1 to 1000)"},
		"not a number":                {edge, "requests_per_second: .nan", "edge.requests_per_second = \".nan\": is not a number (write a number from 1 to 100000)"},
		"NaN":                         {edge, "requests_per_second: NaN", "edge.requests_per_second = \"NaN\": is not a number (write a number from 1 to 100000)"},
		"infinity":                    {edge, "requests_per_second: Inf", "edge.requests_per_second = \"Inf\": is not between 1 and 100000"},
		"a rate of zero":              {edge, "requests_per_second: 0", "edge.requests_per_second = \"0\": is not between 1 and 100000"},
		"a tariff of zero":            {"defaults: {%}", "tariff_plan_type_id: 0", "defaults.tariff_plan_type_id = \"0\": is not between 1 and 2147483648"},
		"an unknown speed":            {"defaults: {%}", "speed_mode: fats", "defaults.speed_mode = \"fats\": is not one of slow, medium, fast (did you mean fast?)"},
		"yes for true":                {account, "allow_custom_host: yes", "accounts.main.allow_custom_host = \"yes\": is neither true nor false (write true or false)"},
		"a list for a value":          {edge, "listen: [a, b]", "edge.listen: is a list, not a single value (write key: value)"},
		"a table for a value":         {edge, "listen: {port: 80}", "edge.listen: is a table, not a single value (write key: value)"},
		"a value for a table":         {"%", "console: here", "console: is a single value, not a table of keys (write key: value lines)"},
		"a list for a table":          {"%", "console: [here]", "console: is a list, not a table of keys (write key: value lines)"},
		"a table for a list":          {"%", "apps: {main: {cloud: public}}", "apps: is a table, not a list (begin each item with - name: …)"},
		"a value for a list":          {"%", "apps: main", "apps: is a single value, not a list (begin each item with - name: …)"},
		"an item that is no table":    {"%", "apps: [main]", "apps.#1: is a single value, not a table of keys (write key: value lines)"},
		"a table in a list":           {app, "scopes: [{a: b}]", "apps.main.scopes: an element is a table, not a text (write as in [a, b])"},
		"nothing in a list":           {app, "client_secret_file: [a, ~]", "apps.main.client_secret_file: an element is empty, not a text (write as in [a, b])"},
		"a table for a list of texts": {app, "scopes: {a: b}", "apps.main.scopes: is a table, not a list (write as in [a, b])"},

		// addresses
		"port 70000":                          {edge, "listen: \":70000\"", "edge.listen = \":70000\": has no port between 0 and 65535 (write as in :8080; port 0 takes any free one)"},
		"port by name":                        {edge, "listen: \":http\"", "edge.listen = \":http\": has no port between 0 and 65535 (write as in :8080; port 0 takes any free one)"},
		"a port alone":                        {edge, "listen: 8080", "edge.listen = \"8080\": is not host:port (write as in :8080 or 127.0.0.1:8090)"},
		"listen empty":                        {edge, "listen: \"\"", "edge.listen: is empty (leave the key out or give a value)"},
		"public URL http":                     {"%", "edge: {public_url: \"http://c.example\"}", "edge.public_url = \"http://c.example\": is not https (write https://; plain http is for localhost only)"},
		"public URL with path":                {"%", "edge: {public_url: \"https://c.example/x\"}", "edge.public_url = \"https://c.example/x\": has a path" + ends},
		"public URL with query":               {"%", "edge: {public_url: \"https://c.example?a=b\"}", "edge.public_url: has a query or a fragment" + ends},
		"public URL with empty query":         {"%", "edge: {public_url: \"https://c.example?\"}", "edge.public_url: has a query or a fragment" + ends},
		"public URL with fragment":            {"%", "edge: {public_url: \"https://c.example#\"}", "edge.public_url: has a query or a fragment" + ends},
		"public URL with userinfo":            {"%", "edge: {public_url: \"https://u:canary@c.example\"}", "edge.public_url: holds a user or a password (leave out what stands before the @)"},
		"public URL with IP":                  {"%", "edge: {public_url: \"https://192.0.2.1\"}", "edge.public_url = \"https://192.0.2.1\": has an IP address (give it a name, for which there can be a certificate)"},
		"public URL with IPv6":                {"%", "edge: {public_url: \"https://[2001:db8::1]\"}", "edge.public_url = \"https://[2001:db8::1]\": has an IP address (give it a name, for which there can be a certificate)"},
		"public URL with wildcard":            {"%", "edge: {public_url: \"https://*.example\"}", "edge.public_url = \"https://*.example\": has a wildcard or an underscore in its host (name one host)"},
		"public URL with port 0":              {"%", "edge: {public_url: \"https://c.example:0\"}", "edge.public_url = \"https://c.example:0\": has no port between 1 and 65535"},
		"public URL of another kind":          {"%", "edge: {public_url: \"ftp://c.example\"}", "edge.public_url = \"ftp://c.example\": is not a URL" + public},
		"public URL without scheme":           {"%", "edge: {public_url: c.example}", "edge.public_url = \"c.example\": is not a URL" + public},
		"public URL without host":             {"%", "edge: {public_url: \"https://:443\"}", "edge.public_url = \"https://:443\": is not a URL" + public},
		"public URL that looks like loopback": {"%", "edge: {public_url: \"http://localhost.example\"}", "edge.public_url = \"http://localhost.example\": is not https (write https://; plain http is for localhost only)"},
		"NATS without TLS":                    {"%", "nats: {url: \"nats://nats.example:4222\"}", "nats.url = \"nats://nats.example:4222\": would send events in the clear to another host (write tls:// or set nats.tls_ca_file; nats.allow_plaintext: true on a private network)"},
		"NATS with credentials":               {"%", "nats: {url: \"tls://u:canary@n.example\"}", "nats.url: holds credentials (put them into a file and name it in nats.creds_file)"},
		"NATS by http":                        {"%", "nats: {url: \"http://127.0.0.1\"}", "nats.url = \"http://127.0.0.1\": is not the address of a NATS server (write as in nats://127.0.0.1:4222 or tls://nats.example.com:4222)"},
		"NATS at port 70000":                  {"%", "nats: {url: \"nats://127.0.0.1:70000\"}", "nats.url = \"nats://127.0.0.1:70000\": has no port between 1 and 65535"},
		"one of two NATS":                     {"%", "nats: {url: \"tls://a.example, nats://b.example\"}", "nats.url = \"tls://a.example, nats://b.example\": would send events in the clear to another host (write tls:// or set nats.tls_ca_file; nats.allow_plaintext: true on a private network)"},
		"no replica":                          {"nats: {%}", "replicas: 0", "nats.replicas = \"0\": is not between 1 and 5"},
		"two replicas":                        {"nats: {%}", "replicas: 2", "nats.replicas = \"2\": is even, which survives no more lost servers than one less (write 1, 3 or 5)"},
		"a monitoring port alone":             {"nats: {%}", "monitoring_url: \"127.0.0.1:8222\"", "nats.monitoring_url = \"127.0.0.1:8222\": is not a URL (write as in http://127.0.0.1:8222, several separated by commas)"},
		"one of two monitoring addresses":     {"nats: {%}", "monitoring_url: \"http://a:8222, http://b:8222/varz\"", "nats.monitoring_url = \"http://a:8222, http://b:8222/varz\": has a path (write as in http://127.0.0.1:8222, several separated by commas)"},
		"unsynced by halves":                  {"nats: {%}", "allow_unsynced: sometimes", "nats.allow_unsynced = \"sometimes\": is neither true nor false (write true or false)"},
		"an unknown mode":                     {edge, "response_mode: fragment", "edge.response_mode = \"fragment\": is not one of form_post, query"},
		"no prompt":                           {edge, "start_prompt: none", "edge.start_prompt = \"none\": is not one of select_account, login, consent"},

		// apps
		"tenant empty":            {app, "tenant: \"\"", "apps.main.tenant: is empty (leave the key out or give a value)"},
		"tenant commmon":          {app, "tenant: commmon", "apps.main.tenant = \"commmon\": is not organizations, common, consumers, a GUID or a domain (did you mean common?)"},
		"tenant in British":       {app, "tenant: organisations", "apps.main.tenant = \"organisations\": is not organizations, common, consumers, a GUID or a domain (did you mean organizations?)"},
		"tenant a URL":            {app, "tenant: \"https://x.example\"", "apps.main.tenant = \"https://x.example\": is not organizations, common, consumers, a GUID or a domain (copy \"Directory (tenant) ID\" from Azure)"},
		"cloud unknown":           {app, "cloud: azure", "apps.main.cloud = \"azure\": is not one of public, usgov, usgov-dod, china"},
		"client_id no GUID":       {app, "client_id: canary", "apps.main.client_id: is not a GUID (copy \"Application (client) ID\" from the app's overview in Azure)"},
		"client_id empty":         {app, "client_id: \"\"", "apps.main.client_id: is empty (leave the key out or give a value)"},
		"redirect elsewhere":      {app, "redirect_uri: \"https://evil.example/oauth-callback/main\"", "apps.main.redirect_uri = \"https://evil.example/oauth-callback/main\": is not where the edge answers, https://c.example/oauth-callback/main" + redir},
		"redirect of another app": {app, "redirect_uri: \"https://c.example/oauth-callback/other\"", "apps.main.redirect_uri = \"https://c.example/oauth-callback/other\": is not where the edge answers, https://c.example/oauth-callback/main" + redir},
		"redirect by http":        {app, "redirect_uri: \"http://c.example/oauth-callback/main\"", "apps.main.redirect_uri = \"http://c.example/oauth-callback/main\": is not where the edge answers, https://c.example/oauth-callback/main" + redir},
		"wildcard redirect":       {app, "redirect_uri: \"https://*.example/oauth-callback/main\"", "apps.main.redirect_uri = \"https://*.example/oauth-callback/main\": has a wildcard (leave it out; it follows from edge.public_url)"},
		"authority elsewhere":     {app, "authority: \"https://login.example\"", "apps.main.authority = \"https://login.example\": " + custom},
		"authority http":          {app, "authority: \"http://login.microsoftonline.com\"", "apps.main.authority = \"http://login.microsoftonline.com\": " + custom},
		"graph elsewhere":         {app, "graph_url: \"https://graph.example\"", "apps.main.graph_url = \"https://graph.example\": " + custom},
		"authority with tenant":   {app, "allow_custom_authority: true, authority: \"http://sim/organizations\"", "apps.main.authority = \"http://sim/organizations\": has a path" + ends},
		"no scopes":               {app, "scopes: []", "apps.main.scopes: is empty (leave the key out or give a value)"},
		"no offline_access":       {app, "scopes: [openid, profile, Mail.Send]", "apps.main.scopes: lacks offline_access, without which there is no refresh token (add it)"},
		"no openid":               {app, "scopes: [profile, offline_access, Mail.Send]", "apps.main.scopes: lacks openid or profile, without which nobody knows who consented (add both)"},
		".default mixed":          {app, "scopes: [openid, profile, offline_access, \"https://graph.microsoft.com/.default\", Mail.Send]", "apps.main.scopes: mixes .default with named scopes, which Microsoft refuses (name the scopes and leave .default out)"},
		"two resources":           {app, "scopes: [openid, profile, offline_access, Mail.Send, \"https://outlook.office.com/SMTP.Send\"]", "apps.main.scopes: asks for permissions of several resources (Microsoft Graph, https://outlook.office.com), which Microsoft refuses in one request" + graphOnly},
		"two other resources":     {app, "scopes: [openid, profile, offline_access, \"https://outlook.office.com/SMTP.Send\", \"https://vault.azure.net/.default\"]", "apps.main.scopes: asks for permissions of several resources (https://outlook.office.com, https://vault.azure.net), which Microsoft refuses in one request" + graphOnly},
		"another resource":        {app, "scopes: [openid, profile, offline_access, \"https://outlook.office.com/IMAP.AccessAsUser.All\"]", "apps.main.scopes: asks for permissions of https://outlook.office.com, with which neither Warmy nor the proof of identity can work" + graphOnly},
		"a resource by its id":    {app, "scopes: [openid, profile, offline_access, Mail.Send, \"00000002-0000-0ff1-ce00-000000000000/Mail.Send\"]", "apps.main.scopes: asks for permissions of several resources (Microsoft Graph, another resource), which Microsoft refuses in one request" + graphOnly},
		"a resource with a user":  {app, "scopes: [openid, profile, offline_access, \"https://u:canary@x.example/Mail.Send\"]", "apps.main.scopes: asks for permissions of another resource, with which neither Warmy nor the proof of identity can work" + graphOnly},
		"offline_access missing":  {app, "scopes: [openid, profile, \"https://graph.microsoft.com/Mail.Send\"]", "apps.main.scopes: lacks offline_access, without which there is no refresh token (add it)"},
		"wildcard scope":          {app, "scopes: [openid, \"Mail.*\"]", "apps.main.scopes: has a scope with a wildcard (name each scope)"},
		"name with a dot":         {"%", "apps: [{name: a.b}]", "apps.#1.name = \"a.b\": is not a valid name (use at most 32 lower-case letters, digits and hyphens between them)"},
		"name too long":           {"%", "apps: [{name: " + strings.Repeat("a", 33) + "}]", "apps.#1.name = \"" + strings.Repeat("a", 33) + "\": is not a valid name (use at most 32 lower-case letters, digits and hyphens between them)"},
		"name empty":              {"%", "apps: [{name: \"\"}]", "apps.#1.name: is empty (leave the key out or give a value)"},

		// accounts
		"Warmy URL http":                 {account, "base_url: \"http://api.warmy.io\"", "accounts.main.base_url = \"http://api.warmy.io\": is not https" + warmy},
		"Warmy URL other host":           {account, "base_url: \"https://api.warmysender.com\"", "accounts.main.base_url = \"https://api.warmysender.com\": is not Warmy's host, and whoever answers there gets the API key" + warmy},
		"Warmy URL with port":            {account, "base_url: \"https://api.warmy.io:8443\"", "accounts.main.base_url = \"https://api.warmy.io:8443\": is not Warmy's host, and whoever answers there gets the API key" + warmy},
		"Warmy URL with path":            {account, "base_url: \"https://api.warmy.io/api/v2\"", "accounts.main.base_url = \"https://api.warmy.io/api/v2\": has a path" + ends},
		"unknown auth":                   {account, "auth: baerer", "accounts.main.auth = \"baerer\": is not one of bearer, session (did you mean bearer?)"},
		"session keys beside a bearer":   {account, "api_key_file: x, uid: canary", "accounts.main.uid: belongs to auth: session, but auth is bearer (keep one of the two ways)"},
		"a password beside a bearer":     {account, "password_file: x, api_key_file: y", "accounts.main.password_file = \"x\": belongs to auth: session, but auth is bearer (keep one of the two ways)"},
		"a user beside a bearer":         {account, "email: canary@x.example, api_key_file: x", "accounts.main.email: belongs to auth: session, but auth is bearer (keep one of the two ways)"},
		"a session file beside a bearer": {account, "access_token_file: x", "accounts.main.access_token_file = \"x\": belongs to auth: session, but auth is bearer (keep one of the two ways)"},
		"a bearer beside a session":      {account, "auth: session, api_key_file: x", "accounts.main.api_key_file = \"x\": belongs to auth: bearer, but auth is session (keep one of the two ways)"},
		"holder_uid with blank":          {account, "holder_uid: \"a b\"", "accounts.main.holder_uid: has blanks or signs beyond ASCII (copy it without what surrounds it)"},
		"rate 0":                         {account, "calls_per_minute: 0", "accounts.main.calls_per_minute = \"0\": is not between 1 and 1000000"},
		"rate over 60":                   {account, "calls_per_minute: 61", "accounts.main.calls_per_minute = \"61\": is over Warmy's own limit of 60 (write at most 60)"},

		// references
		"default app unknown":     {"%", "apps: [{name: main}]\ndefaults: {app: mian}", "defaults.app = \"mian\": names none of apps (did you mean main?)"},
		"default account unknown": {"%", "accounts: [{name: main}]\ndefaults: {account: other}", "defaults.account = \"other\": names none of accounts (known are main)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, strings.Replace(c.in, "%", c.set, 1)+"\n", nil)
			got := lines(t, err)
			for i, line := range got {
				_, got[i], _ = strings.Cut(line, ": ") // the place
			}
			if diff := cmp.Diff([]string{c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Error("the error shows the canary")
			}
		})
	}
}

// What a table of bad values may not take with it.
func TestGoodValuesPass(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"public URL on loopback":      "edge: {public_url: \"http://127.0.0.1:8080\"}",
		"public URL on IPv6 loopback": "edge: {public_url: \"http://[::1]:8080\"}",
		"public URL with a slash":     "edge: {public_url: \"https://c.example/\"}",
		"any free port":               "edge: {listen: \"127.0.0.1:0\"}",
		"tenant a GUID":               "apps: [{name: main, tenant: " + clientID + "}]",
		"tenant a domain":             "apps: [{name: main, tenant: Contoso.onmicrosoft.com}]",
		"the redirect that follows":   "edge: {public_url: \"https://c.example\"}\napps: [{name: a, redirect_uri: \"https://c.example/oauth-callback/a\"}]",
		".default alone":              "apps: [{name: a, scopes: [openid, profile, offline_access, \"https://graph.microsoft.com/.default\"]}]",
		"prefixed scopes":             "apps: [{name: a, scopes: [openid, profile, \"https://graph.microsoft.com/offline_access\", Mail.Send]}]",
		"a simulator of Warmy":        "accounts: [{name: a, base_url: \"http://sim:1\", allow_custom_host: true, calls_per_minute: 100000}]",
		"a simulator of Microsoft":    "apps: [{name: a, authority: \"http://sim:1\", graph_url: \"http://sim:1\", allow_custom_authority: true}]",
		"NATS with TLS":               "nats: {url: \"tls://a.example:4222,tls://b.example:4222\"}",
		"NATS with a CA":              "nats: {url: \"nats://a.example\", tls_ca_file: ca.pem}",
		"NATS on a private network":   "nats: {url: \"nats://nats:4222\", allow_plaintext: true}",
		"three monitoring addresses":  "nats: {replicas: 3, monitoring_url: \"http://a:8222,http://b:8222,https://c\"}",
		"a number as text":            "accounts: [{name: a, auth: session, client: 0123, uid: 12e45, access_token_file: x}]",
		"a single file for a list":    "apps: [{name: a, client_secret_file: /run/x}]",
		"the longest link":            "edge: {link_life: 720h}",
		"a name of one letter":        "accounts: [{name: a}]",
		"a session":                   "accounts: [{name: a, auth: session}]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := load(t, text+"\n", nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMisspeltVariablesAndFlagsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ variable, flag, want string }{
		"a variable":              {variable: "KINDLING_EDGE_LISTN=:1", want: "KINDLING_EDGE_LISTN: is no known variable (did you mean KINDLING_EDGE_LISTEN?)"},
		"an item's variable":      {variable: "KINDLING_APP_MAIN_CLIENT_SECRT=canary", want: "KINDLING_APP_MAIN_CLIENT_SECRT: is no known variable (did you mean KINDLING_APP_MAIN_CLIENT_SECRET?)"},
		"an item's name":          {variable: "KINDLING_APP_MIAN_CLIENT_SECRET=canary", want: "KINDLING_APP_MIAN_CLIENT_SECRET: is no known variable (did you mean KINDLING_APP_MAIN_CLIENT_SECRET?)"},
		"the list's name":         {variable: "KINDLING_APPS_0_CLIENT_SECRET=canary", want: "KINDLING_APPS_0_CLIENT_SECRET: is no known variable (did you mean KINDLING_APP_MAIN_CLIENT_SECRET?)"},
		"a name by variable":      {variable: "KINDLING_APP_MAIN_NAME=other", want: "KINDLING_APP_MAIN_NAME: is no known variable (see `kindling config show` for the keys)"},
		"nothing like it":         {variable: "KINDLING_X=1", want: "KINDLING_X: is no known variable (see `kindling config show` for the keys)"},
		"a flag":                  {flag: "edge.listn", want: "flag: edge.listn: is no known key (did you mean edge.listen?)"},
		"a secret as flag":        {flag: "apps.main.client_secret", want: "flag: apps.main.client_secret: a secret stands on the command line, which every user of this host can read (put it into a file and name that in apps.main.client_secret_file)"},
		"a bad value as flag":     {flag: "edge.listen", want: "flag: edge.listen = \"x\": is not host:port (write as in :8080 or 127.0.0.1:8090)"},
		"a bad value as variable": {variable: "KINDLING_EDGE_LISTEN=x", want: "KINDLING_EDGE_LISTEN: edge.listen = \"x\": is not host:port (write as in :8080 or 127.0.0.1:8090)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := config.Source{File: write(t, "kindling.yaml", small), Environ: []string{c.variable}}
			if c.flag != "" {
				src.Flags = map[string]string{c.flag: "x"}
			}
			_, err := config.Load(src)
			if diff := cmp.Diff([]string{c.want}, lines(t, err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
