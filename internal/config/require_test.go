package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
	"kindling/internal/secret"
)

// complete is a configuration with which every role can work.
func complete(t *testing.T) config.Config {
	t.Helper()
	cfg, err := load(t, fmt.Sprintf(`
nats: {url: "nats://127.0.0.1:4222"}
edge: {public_url: "https://connect.example.com"}
keys: {dir: %q}
apps: [{name: main, client_id: %s, client_secret_file: %q}]
accounts: [{name: main, api_key_file: %q}]
`, t.TempDir(), clientID, write(t, "client", "s3cret"), write(t, "key", "s3cret")), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func roles() map[string]config.Role {
	return map[string]config.Role{
		"edge": config.Edge, "token-worker": config.TokenWorker, "warmy-worker": config.WarmyWorker, "console": config.Console, "up": config.Up,
	}
}

func TestACompleteConfigurationServesEveryRole(t *testing.T) {
	t.Parallel()
	cfg := complete(t)
	for name, role := range roles() {
		if err := cfg.Require(role); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if w := cfg.Warnings(role); len(w) > 0 {
			t.Errorf("%s: warnings %v", name, w)
		}
	}
}

func TestEachRoleNamesWhatItLacks(t *testing.T) {
	t.Parallel()
	const (
		nats     = "nats.url: is missing (write as in nats://127.0.0.1:4222)"
		keys     = "keys.dir: is missing (name the directory that holds this process's keysets)"
		public   = "edge.public_url: is missing (write the address under which owners reach the edge, as in https://connect.example.com)"
		apps     = "apps: is missing (describe at least one Azure app registration)"
		accounts = "accounts: is missing (describe at least one Warmy account)"
	)
	for name, want := range map[string][]string{
		"edge":         {nats, keys, public, apps},
		"token-worker": {nats, keys, apps},
		"warmy-worker": {nats, keys, apps, accounts},
		"console":      {nats, keys, public, apps, accounts},
		"up":           {keys, public, apps, accounts},
	} {
		cfg, err := load(t, "edge: {}\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, lines(t, cfg.Require(roles()[name]))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The edge and the console are exposed: they must work where the secrets' files are not even readable.
func TestOnlyTheWorkersReadSecrets(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, fmt.Sprintf(`
nats: {url: "nats://127.0.0.1:4222"}
edge: {public_url: "https://connect.example.com"}
keys: {dir: keys}
apps: [{name: main, client_id: %s, client_secret_file: [/nonexistent/a, /nonexistent/b]}]
accounts: [{name: main, api_key_file: /nonexistent/c}]
`, clientID), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := []string{
		`apps.main.client_secret_file = "/nonexistent/a": does not exist (check the path)`,
		`apps.main.client_secret_file[1] = "/nonexistent/b": does not exist (check the path)`,
	}
	key := `accounts.main.api_key_file = "/nonexistent/c": does not exist (check the path)`
	for _, role := range []config.Role{config.Edge, config.Console, config.Edge | config.Console} {
		if err := cfg.Require(role); err != nil {
			t.Errorf("role %d: %v", role, err)
		}
	}
	if diff := cmp.Diff(client, lines(t, cfg.Require(config.TokenWorker))); diff != "" {
		t.Errorf("token-worker (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(client, key), lines(t, cfg.Require(config.WarmyWorker))); diff != "" {
		t.Errorf("warmy-worker (-want +got):\n%s", diff)
	}
}

func TestIncompleteOrUnsafeSettingsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"no client secret": {func(c *config.Config) { c.Apps[0].ClientSecrets = config.Secret{} }, "apps.main.client_secret: is missing (put it into a file and name that in apps.main.client_secret_file)"},
		"no API key":       {func(c *config.Config) { c.Accounts[0].APIKey = config.Secret{} }, "accounts.main.api_key: is missing (put it into a file and name that in accounts.main.api_key_file)"},
		"half a session": {func(c *config.Config) {
			c.Accounts[0].Auth, c.Accounts[0].UID, c.Accounts[0].AccessToken = config.AuthSession, "u", config.Inline(secret.New("x"))
		}, "accounts.main.client: is missing (write the client header of a signed-in session)"},
		"a password without its user": {func(c *config.Config) {
			c.Accounts[0].Auth, c.Accounts[0].Password = config.AuthSession, config.Inline(secret.New("x"))
		}, "accounts.main.email: is missing (write the e-mail with which the user signs in at Warmy)"},
		"a user without a password": {func(c *config.Config) {
			c.Accounts[0].Auth, c.Accounts[0].Email = config.AuthSession, "op@x.example"
		}, "accounts.main.password: is missing (put it into a file and name that in accounts.main.password_file)"},
		"a sign-in and half a session": {func(c *config.Config) {
			a := &c.Accounts[0]
			a.Auth, a.Email, a.Password = config.AuthSession, "op@x.example", config.Inline(secret.New("x"))
			a.UID, a.AccessToken = "u", config.Inline(secret.New("x"))
		}, "accounts.main.client: is missing (write the client header of a signed-in session)"},
		"no client_id":             {func(c *config.Config) { c.Apps[0].ClientID = "" }, `apps.main.client_id: is missing (copy "Application (client) ID" from the app's overview in Azure)`},
		"the example's client_id":  {func(c *config.Config) { c.Apps[0].ClientID = "00000000-0000-0000-0000-000000000000" }, `apps.main.client_id: is still the example's (copy "Application (client) ID" from the app's overview in Azure)`},
		"a public console":         {func(c *config.Config) { c.Console.Listen = ":8090" }, "console.operators_file: is missing although console.listen is open to other hosts (name a file of operators, or listen on 127.0.0.1)"},
		"a console on all of IPv6": {func(c *config.Config) { c.Console.Listen = "[::]:8090" }, "console.operators_file: is missing although console.listen is open to other hosts (name a file of operators, or listen on 127.0.0.1)"},
		"operators missing":        {func(c *config.Config) { c.Console.OperatorsFile = "/nonexistent/o" }, `console.operators_file = "/nonexistent/o": does not exist (check the path)`},
		"NATS credentials missing": {func(c *config.Config) { c.NATS.CredsFile = "/nonexistent/n" }, `nats.creds_file = "/nonexistent/n": does not exist (check the path)`},
		"keys not in a directory":  {func(c *config.Config) { c.Keys.Dir = os.DevNull }, `keys.dir = "/dev/null": is not a directory (name the directory that holds the keysets)`},
		"CA missing":               {func(c *config.Config) { c.NATS.TLSCAFile = "/nonexistent/ca" }, `nats.tls_ca_file = "/nonexistent/ca": does not exist (check the path)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := complete(t)
			c.change(&cfg)
			if diff := cmp.Diff([]string{c.want}, lines(t, cfg.Require(config.Up))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestASessionBeginsWithASignInOrWithItsHeaders(t *testing.T) {
	t.Parallel()
	some := config.Inline(secret.New("x"))
	for name, c := range map[string]struct {
		account config.Account
		warns   int
	}{
		"sign-in": {config.Account{Email: "op@x.example", Password: some}, 0},
		"headers": {config.Account{UID: "u", Client: "c", AccessToken: some}, 1},
		"both":    {config.Account{UID: "u", Client: "c", AccessToken: some, Email: "op@x.example", Password: some}, 0},
	} {
		cfg := complete(t)
		c.account.Name, c.account.Auth = "main", config.AuthSession
		cfg.Accounts = []config.Account{c.account}
		if err := cfg.Require(config.WarmyWorker); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if w := cfg.Warnings(config.WarmyWorker); len(w) != c.warns {
			t.Errorf("%s: warnings %v", name, w)
		}
	}
}

func TestACAMustHoldACertificateThatIsValidNow(t *testing.T) {
	t.Parallel()
	expired, valid := certificate(t, time.Now().Add(-time.Hour)), certificate(t, time.Now().Add(time.Hour))
	for name, c := range map[string]struct{ text, want string }{
		"not PEM":           {"-----", "holds no PEM certificate"},
		"a key":             {"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", "holds no PEM certificate"},
		"expired":           {expired, "holds only certificates that have expired"},
		"valid":             {valid, ""},
		"expired and valid": {expired + valid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := complete(t)
			cfg.NATS.TLSCAFile = write(t, "ca.pem", c.text)
			err := cfg.Require(config.Edge)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want %q", err, c.want)
			}
		})
	}
}

func certificate(t *testing.T, until time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-24 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestUnwiseSettingsAreWarnedOf(t *testing.T) {
	t.Parallel()
	cfg := complete(t)
	open := write(t, "client", clientID)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	loaded, err := load(t, fmt.Sprintf("apps: [{name: main, client_id: %s, client_secret_file: %q}]\n", clientID, open), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Apps[0].ClientSecrets = loaded.Apps[0].ClientSecrets
	cfg.Apps[0].AllowCustomAuthority, cfg.Accounts[0].AllowCustomHost, cfg.NATS.AllowPlaintext = true, true, true
	cfg.NATS.AllowUnsynced = true

	var got []string
	for _, w := range cfg.Warnings(config.WarmyWorker) {
		got = append(got, w.Key+": "+w.Reason)
	}
	want := []string{
		"nats.allow_unsynced: acknowledged tokens may be lost when the power fails",
		"nats.allow_plaintext: events may cross the network in the clear",
		"apps.main.allow_custom_authority: client secrets may go to another host than Microsoft's",
		"apps.main.client_secret_file: every user of this host can read the file",
		"apps.main.client_secret: looks like the secret's id, not its value",
		"accounts.main.allow_custom_host: tokens of mailboxes may go to another host than Warmy's",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := cfg.Require(config.WarmyWorker); err != nil {
		t.Errorf("a warning keeps the process from starting: %v", err)
	}
	if got := cfg.Warnings(config.Edge); len(got) != 3 {
		t.Errorf("the edge warns of %v, want nothing of secrets it does not read", got)
	}
}

func TestACustomAuthorityThatShowsSecretsIsWarnedOf(t *testing.T) {
	t.Parallel()
	const (
		alone = "is set alone: tokens of one provider go to the other one"
		open  = "sends secrets or tokens over a network in the clear"
	)
	for _, c := range []struct {
		authority, graph string
		want             map[string]string
	}{
		{"https://login.example", "https://graph.example", nil},
		{"http://127.0.0.1:9001", "http://localhost:9001", nil},
		{"https://login.example", "", map[string]string{"authority": alone}},
		{"", "https://graph.example", map[string]string{"graph_url": alone}},
		{"http://login.example", "http://graph.example", map[string]string{"authority": open, "graph_url": open}},
	} {
		cfg := complete(t)
		cfg.Apps[0].AllowCustomAuthority, cfg.Apps[0].Authority, cfg.Apps[0].GraphURL = true, c.authority, c.graph
		got := map[string]string{}
		for _, w := range cfg.Warnings(config.Up) {
			got[strings.TrimPrefix(w.Key, "apps.main.")] = w.Reason
		}
		delete(got, "allow_custom_authority")
		if len(got) != len(c.want) || len(got) > 0 && !cmp.Equal(c.want, got) {
			t.Errorf("%s and %s: %v, want %v", c.authority, c.graph, got, c.want)
		}
	}
}
