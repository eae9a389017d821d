package config

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"time"
)

// Role is what a process does; it decides what the process needs and which secrets it may read. Roles can be joined.
type Role uint8

// The roles.
const (
	Edge Role = 1 << iota
	TokenWorker
	WarmyWorker
	Console
	embedded

	// Up is all of them in one process, which brings its own message store unless nats.url is set.
	Up = Edge | TokenWorker | WarmyWorker | Console | embedded
)

// RoleNames lists what RoleOf knows.
func RoleNames() []string { return []string{"edge", "token-worker", "warmy-worker", "console", "up"} }

// RoleOf returns the role of this name, and whether there is one.
func RoleOf(name string) (Role, bool) {
	role, ok := map[string]Role{
		"edge": Edge, "token-worker": TokenWorker, "warmy-worker": WarmyWorker, "console": Console, "up": Up,
	}[name]
	return role, ok
}

func (r Role) has(one Role) bool { return r&one != 0 }

// exampleClientID stands in the example file and is nobody's app.
const exampleClientID = "00000000-0000-0000-0000-000000000000"

// Require reports whether a process in these roles can work with c. It reads the files that the roles need, and no
// others: the edge and the console never open a client secret or a Warmy credential. Its error is an *Invalid.
func (c Config) Require(roles Role) error {
	var wrong problems
	c.inspect(roles, &wrong, nil)
	return wrong.err()
}

// Warnings lists what a process in these roles should say once at its start, and not stop for.
func (c Config) Warnings(roles Role) []Problem {
	var wrong, warn problems
	c.inspect(roles, &wrong, &warn)
	return warn.list
}

func (c Config) inspect(roles Role, wrong, warn *problems) {
	c.requireNATS(roles, wrong, warn)
	missing(wrong, "keys.dir", c.Keys.Dir, "name the directory that holds this process's keysets")
	if info, err := os.Stat(c.Keys.Dir); c.Keys.Dir != "" && err == nil && !info.IsDir() {
		wrong.add(Problem{Key: "keys.dir", Value: harmless(c.Keys.Dir), Reason: "is not a directory", Remedy: "name the directory that holds the keysets"})
	}
	if roles.has(Edge | Console) {
		missing(wrong, "edge.public_url", c.Edge.PublicURL, "write the address under which owners reach the edge, as in https://connect.example.com")
	}
	if roles.has(Console) {
		c.requireOperators(wrong)
	}
	if roles.has(Edge) && c.Edge.StartPrompt == "consent" && warn != nil {
		warn.add(Problem{
			Key: "edge.start_prompt", Value: "consent", Reason: "means repeated consent prompts: everybody is asked to approve again, and non-admins meet the approval wall that their admin has opened",
			Remedy: "leave it out; set it only while permissions have to be asked for anew, and rely on Grant admin consent in the Azure portal",
		})
	}
	c.requireApps(roles, wrong, warn)
	if roles.has(WarmyWorker | Console) {
		c.requireAccounts(roles, wrong, warn)
	}
}

func missing(wrong *problems, key, value, remedy string) {
	if value == "" {
		wrong.add(Problem{Key: key, Reason: "is missing", Remedy: remedy})
	}
}

func (c Config) requireNATS(roles Role, wrong, warn *problems) {
	if !roles.has(embedded) {
		missing(wrong, "nats.url", c.NATS.URL, "write as in nats://127.0.0.1:4222")
	}
	if c.NATS.AllowUnsynced && warn != nil {
		warn.add(Problem{Key: "nats.allow_unsynced", Reason: "acknowledged tokens may be lost when the power fails", Remedy: "set sync_interval: always in the server's jetstream section"})
	}
	if c.NATS.URL == "" {
		return
	}
	if c.NATS.CredsFile != "" {
		if _, bad := read(c.NATS.CredsFile, maxSecret); bad != nil {
			wrong.add(Problem{Key: "nats.creds_file", Value: harmless(c.NATS.CredsFile), Reason: bad.reason, Remedy: bad.remedy})
		}
	}
	if c.NATS.TLSCAFile != "" {
		if bad := judgeCA(c.NATS.TLSCAFile, time.Now()); bad != nil {
			wrong.add(Problem{Key: "nats.tls_ca_file", Value: harmless(c.NATS.TLSCAFile), Reason: bad.reason, Remedy: bad.remedy})
		}
	}
	if c.NATS.AllowPlaintext && warn != nil {
		warn.add(Problem{Key: "nats.allow_plaintext", Reason: "events may cross the network in the clear", Remedy: "use tls:// outside a private network"})
	}
}

// judgeCA wants at least one certificate that is valid now.
func judgeCA(path string, now time.Time) *note {
	rest, bad := read(path, maxFile)
	if bad != nil {
		return bad
	}
	verdict := &note{"holds no PEM certificate", "name the file with the CA's certificate"}
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return verdict
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case block.Type != "CERTIFICATE" || err != nil:
		case now.After(cert.NotAfter):
			verdict = &note{"holds only certificates that have expired", "fetch the CA's current one"}
		default:
			return nil
		}
	}
}

// requireOperators refuses a console that strangers can reach and nobody must log in to.
func (c Config) requireOperators(wrong *problems) {
	path := c.Console.OperatorsFile
	if path != "" {
		if _, bad := read(path, maxFile); bad != nil {
			wrong.add(Problem{Key: "console.operators_file", Value: harmless(path), Reason: bad.reason, Remedy: bad.remedy})
		}
		return
	}
	host, _, err := net.SplitHostPort(c.Console.Listen)
	if err != nil || !loopback(host) {
		wrong.add(Problem{
			Key: "console.operators_file", Reason: "is missing although console.listen is open to other hosts",
			Remedy: "name a file of operators, or listen on 127.0.0.1",
		})
	}
}

func (c Config) requireApps(roles Role, wrong, warn *problems) {
	if len(c.Apps) == 0 {
		wrong.add(Problem{Key: "apps", Reason: "is missing", Remedy: "describe at least one Azure app registration"})
	}
	for _, a := range c.Apps {
		key := "apps." + a.Name + "."
		missing(wrong, key+"client_id", a.ClientID, "copy \"Application (client) ID\" from the app's overview in Azure")
		if a.ClientID == exampleClientID {
			wrong.add(Problem{Key: key + "client_id", Reason: "is still the example's", Remedy: "copy \"Application (client) ID\" from the app's overview in Azure"})
		}
		if a.AllowCustomAuthority && warn != nil {
			warn.add(Problem{Key: key + "allow_custom_authority", Reason: "client secrets may go to another host than Microsoft's", Remedy: "for simulators only"})
		}
		if roles.has(Edge) && warn != nil && a.Issuer == "" {
			warnOfScopes(a, key+"scopes", warn)
		}
		if warn != nil {
			a.warnOfAuthority(key, warn)
		}
		a.requireCredentials(roles, key, wrong, warn)
	}
}

// warnOfAuthority tells of a custom authority that shows secrets to others than its operator.
func (a App) warnOfAuthority(key string, warn *problems) {
	for name, pair := range map[string][2]string{"authority": {a.Authority, a.GraphURL}, "graph_url": {a.GraphURL, a.Authority}} {
		u, err := url.Parse(pair[0])
		switch {
		case pair[0] == "" || err != nil:
		case pair[1] == "":
			warn.add(Problem{Key: key + name, Reason: "is set alone: tokens of one provider go to the other one", Remedy: "set authority and graph_url, or neither"})
		case u.Scheme == "http" && !loopback(u.Hostname()):
			warn.add(Problem{Key: key + name, Reason: "sends secrets or tokens over a network in the clear", Remedy: "write https://"})
		}
	}
}

// requireCredentials reads what a role proves the app with: token-worker at Microsoft with the certificate, if there is one;
// warmy-worker hands the secret on, always.
func (a App) requireCredentials(roles Role, key string, wrong, warn *problems) {
	certified := a.Certificate.Given()
	if roles.has(TokenWorker) {
		a.Certificate.read(time.Now(), wrong, warn)
	}
	switch {
	case roles.has(WarmyWorker) && certified && !a.ClientSecrets.Given():
		wrong.add(Problem{
			Key: key + "client_secret", Reason: "is missing: Warmy renews tokens with a client secret and has no field for a certificate",
			Remedy: "put it into a file and name that in " + key + "client_secret_file",
		})
	case roles.has(WarmyWorker), roles.has(TokenWorker) && !certified:
		a.ClientSecrets.require(key+"client_secret", wrong, warn)
	}
	if warn != nil && roles.has(TokenWorker|WarmyWorker|Console) {
		a.warnOfExpiry(key, time.Now(), warn)
	}
}

func (c Config) requireAccounts(roles Role, wrong, warn *problems) {
	if len(c.Accounts) == 0 {
		wrong.add(Problem{Key: "accounts", Reason: "is missing", Remedy: "describe at least one Warmy account"})
	}
	for _, a := range c.Accounts {
		key := "accounts." + a.Name + "."
		if a.AllowCustomHost && warn != nil {
			warn.add(Problem{Key: key + "allow_custom_host", Reason: "tokens of mailboxes may go to another host than Warmy's", Remedy: "for simulators only"})
		}
		switch {
		case !roles.has(WarmyWorker):
		case a.Auth == AuthSession:
			a.requireSession(key, wrong, warn)
		default:
			a.APIKey.require(key+"api_key", wrong, warn)
		}
	}
}

// requireSession wants what a session can begin with: e-mail and password, or the headers of one, or both.
func (a Account) requireSession(key string, wrong, warn *problems) {
	signsIn := a.Email != "" || a.Password.Given()
	if signsIn {
		missing(wrong, key+"email", a.Email, "write the e-mail with which the user signs in at Warmy")
		a.Password.require(key+"password", wrong, warn)
	}
	if signsIn && a.UID == "" && a.Client == "" && !a.AccessToken.Given() {
		return
	}
	missing(wrong, key+"uid", a.UID, "write the uid header of a signed-in session; or sign in with email and password_file")
	missing(wrong, key+"client", a.Client, "write the client header of a signed-in session")
	a.AccessToken.require(key+"access_token", wrong, warn)
	if !signsIn && warn != nil {
		warn.add(Problem{
			Key: key + "access_token", Reason: "is lost with its session: nothing can begin another one by itself",
			Remedy: "set email and password_file, or better: use an API key (auth: bearer)",
		})
	}
}

// require reads a secret to see that it can be read.
func (s Secret) require(key string, wrong, warn *problems) {
	if !s.Given() {
		wrong.add(Problem{Key: key, Reason: "is missing", Remedy: "put it into a file and name that in " + key + "_file"})
		return
	}
	s.read(wrong, warn)
}
