// Package sim runs the simulated Microsoft and Warmy as one process on
// loopback, so that benches and trials can talk to them over real connections.
// Tests use the packages below it directly.
package sim

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

// options are the command line.
type options struct {
	microsoft, warmy          string
	clientID, tenant          string
	secrets, redirects, keys  list
	certificates              list
	login, password, holder   string
	calls                     int
	retryAfter                string
	latency, jitter           time.Duration
	seed                      uint64
	alg, faults, state        string
	startPaused, rotateTokens bool
	checkTokens               bool
}

// list is a flag that may be repeated.
type list []string

// String joins the values, for flag's own messages.
func (l *list) String() string { return fmt.Sprint([]string(*l)) }

// Set appends a value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// usage is an error of the command line: the process ends with 64.
type usage struct{ error }

// Unwrap returns the error itself.
func (u usage) Unwrap() error { return u.error }

// ExitCode is EX_USAGE of sysexits.h.
func (usage) ExitCode() int { return 64 }

func parse(args []string, talk io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("simulator", flag.ContinueOnError)
	f.SetOutput(talk)
	f.StringVar(&o.microsoft, "microsoft-listen", "127.0.0.1:0", "address of the simulated Microsoft")
	f.StringVar(&o.warmy, "warmy-listen", "127.0.0.1:0", "address of the simulated Warmy")
	f.StringVar(&o.clientID, "client-id", "11111111-2222-4333-8444-555555555555", "client id of the registered app")
	f.Var(&o.secrets, "client-secret", "client secret of the app (repeat for several; default \"simulated\")")
	f.Var(&o.certificates, "client-certificate", "PEM file of a certificate that proves the app (repeat for several)")
	f.Var(&o.redirects, "redirect-uri", "redirect URI of the app (repeat for several)")
	f.StringVar(&o.tenant, "tenant", "", "limit the app to one tenant")
	f.Var(&o.keys, "api-key", "Warmy API key (repeat for several; default \"simulated\")")
	f.StringVar(&o.login, "warmy-email", "operator@example.com", "Warmy login for sessions")
	f.StringVar(&o.password, "warmy-password", "simulated", "its password")
	f.StringVar(&o.holder, "holder-uid", warmyapi.GuideHolder, "Warmy workspace")
	f.IntVar(&o.calls, "calls-per-minute", 60, "Warmy's limit; negative for none")
	f.StringVar(&o.retryAfter, "retry-after", "", "Retry-After of Warmy's 429 (\"auto\": the true wait)")
	f.BoolVar(&o.startPaused, "start-paused", false, "new mailboxes start paused")
	f.BoolVar(&o.rotateTokens, "rotate-tokens", false, "rotate session tokens as devise_token_auth does")
	f.BoolVar(&o.checkTokens, "check-tokens", true, "Warmy tries the access tokens at Microsoft")
	f.DurationVar(&o.latency, "latency", 0, "time that every answer takes")
	f.DurationVar(&o.jitter, "jitter", 0, "how much more or less")
	f.Uint64Var(&o.seed, "seed", 1, "seed of all draws")
	f.StringVar(&o.alg, "signing-alg", msid.RS256, "algorithm of id_tokens: RS256 or ES256 (cheaper)")
	f.StringVar(&o.faults, "faults", "", "JSON file {\"microsoft\": {…}, \"warmy\": {…}}, as POST /_sim/faults takes it")
	f.StringVar(&o.state, "state", "", "directory that remembers what exists over a restart, or a kill; it must be one of its own")
	if err := f.Parse(args); err != nil {
		return o, fmt.Errorf("simulator: %w", err)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("simulator: unexpected argument %q", f.Arg(0))
	}
	return o, o.complete()
}

// complete fills in defaults and refuses what a server would panic about.
func (o *options) complete() error {
	if len(o.secrets) == 0 {
		o.secrets = list{"simulated"}
	}
	if len(o.keys) == 0 {
		o.keys = list{"simulated"}
	}
	if o.alg != msid.RS256 && o.alg != msid.ES256 {
		return fmt.Errorf("simulator: signing-alg %q is neither RS256 nor ES256", o.alg)
	}
	for _, listen := range []string{o.microsoft, o.warmy} {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			return fmt.Errorf("simulator: listen address: %w", err)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("simulator: %s is not a loopback address; the simulators hold no real secret and check none", listen)
		}
	}
	return nil
}

// servers builds both simulators, Warmy trying its tokens at Microsoft.
func (o *options) servers() (*msid.Server, *warmyapi.Server, error) {
	certificates, err := o.readCertificates()
	if err != nil {
		return nil, nil, err
	}
	microsoft, err := msid.Open(msid.Config{
		Apps: []msid.App{{
			ClientID: o.clientID, Secrets: o.secrets, Certificates: certificates, RedirectURIs: o.redirects, Tenant: o.tenant,
		}},
		SigningAlg: o.alg, Latency: o.latency, Jitter: o.jitter, Seed: o.seed, Journal: o.journal("microsoft"),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("simulated microsoft: %w", err)
	}
	cfg := warmyapi.Config{
		HolderUID: o.holder, APIKeys: o.keys, Logins: []warmyapi.Login{{Email: o.login, Password: o.password}},
		Switches: warmyapi.Switches{
			CallsPerMinute: o.calls, RetryAfter: o.retryAfter, StartPaused: o.startPaused, RotateTokens: o.rotateTokens,
		},
		Latency: o.latency, Jitter: o.jitter, Seed: o.seed, Journal: o.journal("warmy"),
	}
	if o.checkTokens {
		cfg.Inspect = func(access, _ string) (string, bool) { return microsoft.Owner(access) }
	}
	warmy, err := warmyapi.Open(cfg)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("simulated warmy: %w", err), microsoft.Close())
	}
	return microsoft, warmy, nil
}

func (o *options) readCertificates() ([]*x509.Certificate, error) {
	var read []*x509.Certificate
	for _, path := range o.certificates {
		text, err := os.ReadFile(path) //nolint:gosec // whoever starts the simulator names the file
		if err != nil {
			return nil, fmt.Errorf("simulator: client-certificate: %w", err)
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("simulator: client-certificate %s is no PEM file", path)
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("simulator: client-certificate %s: %w", path, err)
		}
		read = append(read, leaf)
	}
	return read, nil
}

// journal is the file of one server, or none.
func (o *options) journal(name string) string {
	if o.state == "" {
		return ""
	}
	return filepath.Join(o.state, name+".jsonl")
}

// plan applies the file of faults.
func (o *options) plan(microsoft *msid.Server, warmy *warmyapi.Server) error {
	if o.faults == "" {
		return nil
	}
	raw, err := os.ReadFile(o.faults)
	if err != nil {
		return fmt.Errorf("simulator: faults: %w", err)
	}
	var plan struct {
		Microsoft trouble.Control `json:"microsoft"`
		Warmy     trouble.Control `json:"warmy"`
	}
	if err := json.Unmarshal(raw, &plan); err != nil {
		return fmt.Errorf("simulator: faults: %w", err)
	}
	if err := microsoft.Apply(plan.Microsoft); err != nil {
		return fmt.Errorf("simulator: faults of microsoft: %w", err)
	}
	if err := warmy.Apply(plan.Warmy); err != nil {
		return fmt.Errorf("simulator: faults of warmy: %w", err)
	}
	return nil
}

// Running is the line that Run prints when both servers listen.
type Running struct {
	Microsoft string `json:"microsoft"`
	Warmy     string `json:"warmy"`
}

// Run serves both simulators until the context ends. It prints one line of
// JSON, a Running, to stdout as soon as both accept connections; what flag has
// to say goes to stderr.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return usage{err}
	}
	microsoft, warmy, err := o.servers()
	if err != nil {
		return err
	}
	err = o.serve(ctx, stdout, microsoft, warmy)
	return errors.Join(err, microsoft.Close(), warmy.Close())
}

func (o *options) serve(ctx context.Context, stdout io.Writer, microsoft *msid.Server, warmy *warmyapi.Server) error {
	if err := o.plan(microsoft, warmy); err != nil {
		return err
	}
	first, err := listen(ctx, o.microsoft, microsoft)
	if err != nil {
		return err
	}
	second, err := listen(ctx, o.warmy, warmy)
	if err != nil {
		return errors.Join(err, first.stop())
	}
	if err := json.NewEncoder(stdout).Encode(Running{Microsoft: first.url(), Warmy: second.url()}); err != nil {
		return errors.Join(err, first.stop(), second.stop())
	}
	<-ctx.Done()
	return errors.Join(first.stop(), second.stop())
}

// listener is one server at work.
type listener struct {
	server *http.Server
	at     net.Addr
	ended  chan error
}

// listen starts serving; stop joins it.
func listen(ctx context.Context, address string, h http.Handler) (*listener, error) {
	var config net.ListenConfig
	socket, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	l := &listener{
		server: &http.Server{
			Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
			BaseContext: func(net.Listener) context.Context { return ctx },
		},
		at: socket.Addr(), ended: make(chan error, 1),
	}
	go func() { l.ended <- l.server.Serve(socket) }()
	return l, nil
}

func (l *listener) url() string { return "http://" + l.at.String() }

// stop ends the server at once: a simulator has nothing to finish.
func (l *listener) stop() error {
	err := l.server.Close()
	if served := <-l.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
