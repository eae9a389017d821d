package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/config"
	"kindling/internal/mailbox"
	"kindling/internal/seal"
)

// store is a NATS server on a port of its own, and a way to do to it what happens to servers.
type store struct {
	t    *testing.T
	opts embed.Options
	*embed.Server
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{t: t, opts: embed.Options{Dir: filepath.Join(t.TempDir(), "nats"), Listen: freeAddress(t), LazySync: true}}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *store) start() {
	s.t.Helper()
	server, err := embed.Start(s.opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Server = server
}

func (s *store) stop() {
	s.t.Helper()
	if err := s.Stop(); err != nil {
		s.t.Errorf("stop NATS: %v", err)
	}
}

func (s *store) jetStream() jetstream.JetStream {
	s.t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// limit sets how many bytes a stream may hold.
func (s *store) limit(name string, maxBytes int64) {
	s.t.Helper()
	js := s.jetStream()
	stream, err := js.Stream(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = maxBytes
	if _, err := js.UpdateStream(s.t.Context(), cfg); err != nil {
		s.t.Fatal(err)
	}
}

// codes counts the codes that wait for their redeem.
func (s *store) codes() uint64 {
	s.t.Helper()
	stream, err := s.jetStream().Stream(s.t.Context(), "CODE")
	if err != nil {
		s.t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// visitor is a mailbox owner's browser before the real edge, on a real listener and a real store.
type visitor struct {
	t         *testing.T
	browser   *http.Client
	base      string
	keys      string // the directory of the keysets
	link      string
	mailbox   mailbox.ID
	claims    func() mailbox.Claim
	callbacks string // the address that Microsoft sent the browser to
}

// invite runs the edge on the store behind address, and invites one owner.
func invite(t *testing.T, s *store, address string) *visitor {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := seal.Generate(keys); err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	base := "http://" + listen
	cfg := config.Config{
		NATS: config.NATS{URL: "nats://" + address}, Keys: config.Keys{Dir: keys},
		Edge: config.EdgeSettings{Listen: listen, PublicURL: base, ResponseMode: "query", RequestsPerSecond: 1000, LinkLife: time.Hour},
		Apps: []config.App{{
			Name: "main", Tenant: "organizations", ClientID: "11111111-2222-3333-4444-555555555555", RedirectURI: base + "/oauth-callback/main",
			Scopes: []string{"User.Read", "offline_access", "openid"}, Authority: "http://login.example", GraphURL: "http://graph.example",
		}},
	}
	h := NewHost(cfg, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Edge(ctx, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the edge ended with %v", err)
		}
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, base: base, keys: keys, browser: &http.Client{
		Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	v.invited(s, keys)
	awaitOK(t, v)
	return v
}

// invited stores the invitation as the console does.
func (v *visitor) invited(s *store, keys string) {
	v.t.Helper()
	people, err := seal.OpenPeople(keys)
	if err != nil {
		v.t.Fatal(err)
	}
	ids, err := seal.OpenIDs(keys)
	if err != nil {
		v.t.Fatal(err)
	}
	b := v.bus(s)
	v.mailbox = ids.Mailbox("main", "jane@contoso.example")
	v.link = ids.Link(v.mailbox, 1)
	now := time.Now()
	conflicts, err := b.InvitationStore(people).Create(v.t.Context(), []mailbox.Invitation{{
		ID: v.mailbox, Campaign: "c", App: "main", Account: "main", Address: "jane@contoso.example", TariffPlanTypeID: 1, SpeedMode: "fast",
		LinkGeneration: 1, LinkHash: mailbox.Hash(v.link), InvitedAt: now, LinkExpiresAt: now.Add(time.Hour),
	}})
	if err != nil || conflicts[0] != nil {
		v.t.Fatalf("invite: %v, %v", conflicts, err)
	}
	v.claims = func() mailbox.Claim {
		claim, _, err := v.bus(s).Claims().Load(v.t.Context(), v.mailbox)
		if err != nil {
			v.t.Fatal(err)
		}
		return claim
	}
}

func (v *visitor) bus(s *store) *bus.Bus {
	v.t.Helper()
	b, err := bus.Connect(v.t.Context(), bus.Config{InProcess: s.Server, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(b.Close)
	if _, err := b.Ensure(v.t.Context()); err != nil {
		v.t.Fatal(err)
	}
	return b
}

func awaitOK(t *testing.T, v *visitor) {
	t.Helper()
	within(t, "the edge shows the link's page", func() bool {
		status, _, _ := v.try(http.MethodGet, v.base+"/c/"+v.link)
		return status == http.StatusOK
	})
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(40 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within 40 s: %s", what)
		}
	}
}

// try sends one request; status 0 means that there was no answer.
func (v *visitor) try(method, address string) (status int, location, body string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, address, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	answer, err := v.browser.Do(req)
	if err != nil {
		return 0, "", err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, "", err.Error()
	}
	return answer.StatusCode, answer.Header.Get("Location"), string(text)
}

// consents presses the button and comes back from Microsoft with a code: the answer is still to be delivered.
func (v *visitor) consents() {
	v.t.Helper()
	status, location, body := v.try(http.MethodPost, v.base+"/c/"+v.link+"/start")
	to, err := url.Parse(location)
	if status != http.StatusSeeOther || err != nil || to.Host != "login.example" {
		v.t.Fatalf("start answers %d to %s: %s", status, location, body)
	}
	v.callbacks = v.base + "/oauth-callback/main?" + url.Values{"code": {"0.AXtheCode"}, "state": {to.Query().Get("state")}}.Encode()
}

// isToldToTryAgain wants the page that asks for patience, with a way to go on.
func (v *visitor) isToldToTryAgain(method, address string) {
	v.t.Helper()
	status, _, body := v.try(method, address)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "Please try again in a moment") {
		v.t.Fatalf("%s answers %d: %s", address, status, body)
	}
}

// isThanked wants the same browser's same answer to be taken, once, whether or not it is presented again.
func (v *visitor) isThanked(s *store) {
	v.t.Helper()
	within(v.t, "the answer is taken", func() bool {
		status, location, _ := v.try(http.MethodGet, v.callbacks)
		return status == http.StatusSeeOther && strings.HasPrefix(location, "/done/")
	})
	if status, _, _ := v.try(http.MethodGet, v.callbacks); status != http.StatusSeeOther {
		v.t.Errorf("a reload answers %d", status)
	}
	if n := s.codes(); n != 1 {
		v.t.Errorf("%d codes wait for their redeem, want one", n)
	}
	if c := v.claims(); len(c.Attempts) != 1 || c.Attempts[0].CodeHash == "" {
		v.t.Errorf("the claim knows %+v", c.Attempts)
	}
}

// nothingIsHalfDone wants an attempt that is still open, and no code on its way.
func (v *visitor) nothingIsHalfDone(s *store) {
	v.t.Helper()
	if n := s.codes(); n != 0 {
		v.t.Errorf("%d codes are stored although the owner was told to try again", n)
	}
	if c := v.claims(); len(c.Attempts) != 1 || !c.Attempts[0].AnsweredAt.IsZero() {
		v.t.Errorf("the claim knows %+v", c.Attempts)
	}
}

func TestAConsentThatMeetsAFullStreamIsTakenWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	v := invite(t, s, s.opts.Listen)
	v.consents()
	s.limit("CODE", 1)
	v.isToldToTryAgain(http.MethodGet, v.callbacks)
	v.isToldToTryAgain(http.MethodGet, v.callbacks)
	v.nothingIsHalfDone(s)
	awaitOK(t, v) // the link still opens
	s.limit("CODE", 1<<20)
	v.isThanked(s)
}

func TestAConsentThatMeetsFullClaimsIsTakenWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	v := invite(t, s, s.opts.Listen)
	s.limit("KV_claims", 1)
	v.isToldToTryAgain(http.MethodPost, v.base+"/c/"+v.link+"/start")
	s.limit("KV_claims", 1<<20)
	v.consents()
	s.limit("KV_claims", 1)
	v.isToldToTryAgain(http.MethodGet, v.callbacks)
	v.nothingIsHalfDone(s)
	s.limit("KV_claims", 1<<20)
	v.isThanked(s)
}

func TestAConsentThatMeetsNoServerIsTakenWhenItIsBack(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	v := invite(t, s, s.opts.Listen)
	v.consents()
	s.stop()
	v.isToldToTryAgain(http.MethodGet, v.callbacks)
	v.isToldToTryAgain(http.MethodGet, v.base+"/c/"+v.link)
	s.start()
	v.nothingIsHalfDone(s)
	v.isThanked(s)
}

func TestAConsentThatMeetsAStoreWithoutDiskIsTakenWhenItHasHealed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	v := invite(t, s, s.opts.Listen)
	v.consents()
	if err := s.NATS().ShutdownJetStream(); err != nil { // what the server does at the first failed write: see package embed
		t.Fatal(err)
	}
	v.isToldToTryAgain(http.MethodGet, v.callbacks)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	v.nothingIsHalfDone(s)
	v.isThanked(s)
}

// TestAConsentWhoseConnectionBreaksAtTheWorstMomentIsTakenOnce cuts the edge off from the store just as it publishes the
// code: before the server has it, and after, when only its acknowledgement is lost. The claim knows the code then, and
// cannot be released.
func TestAConsentWhoseConnectionBreaksAtTheWorstMomentIsTakenOnce(t *testing.T) {
	t.Parallel()
	for name, passes := range map[string]bool{"before it is stored": false, "after it is stored": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			line := newLine(t, s, passes)
			v := invite(t, s, line.address)
			v.consents()
			line.arm()
			v.isToldToTryAgain(http.MethodGet, v.callbacks)
			if c := v.claims(); len(c.Attempts) != 1 || c.Attempts[0].CodeHash == "" {
				t.Errorf("the connection broke too early: the claim knows %+v", c.Attempts)
			}
			if n := s.codes(); (n == 1) != passes {
				t.Errorf("%d codes are stored", n)
			}
			line.mend()
			v.isThanked(s)
		})
	}
}

// line is a TCP connection to the store that breaks at a publish of a code.
type line struct {
	t       *testing.T
	address string
	store   string
	js      jetstream.JetStream
	passes  bool // the publish arrives, its answer does not

	mu     sync.Mutex
	armed  bool
	mute   bool // the server's answers are lost
	broken bool
	open   []net.Conn
}

func newLine(t *testing.T, s *store, passes bool) *line {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{t: t, address: listener.Addr().String(), store: s.opts.Listen, js: s.jetStream(), passes: passes}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { l.serve(client) })
		}
	})
	return l
}

func (l *line) arm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = true
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = false
}

// cut breaks the line; it stays broken until mend.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.mute, l.broken = false, false, true
	for _, c := range l.open {
		_ = c.Close()
	}
	l.open = nil
}

// connected takes both ends of a connection; false while the line is broken.
func (l *line) connected(ends ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return false
	}
	l.open = append(l.open, ends...)
	return true
}

func (l *line) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", l.store)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !l.connected(client, server) {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		l.answer(client, server)
	}()
	l.forward(client, server)
	_ = server.Close()
	<-back
}

// answer passes on what the server says while the line is not mute.
func (l *line) answer(client io.Writer, server io.Reader) {
	said := make([]byte, 64<<10)
	for {
		n, err := server.Read(said)
		if err != nil {
			return
		}
		l.mu.Lock()
		mute := l.mute
		l.mu.Unlock()
		if !mute {
			_, _ = client.Write(said[:n])
		}
	}
}

// forward passes on what the client says until it publishes a code on an armed line.
func (l *line) forward(client io.Reader, server io.Writer) {
	said := make([]byte, 64<<10)
	for {
		n, err := client.Read(said)
		if err != nil {
			return
		}
		l.mu.Lock()
		hit := l.armed && bytes.Contains(said[:n], []byte("PUB kindling.code."))
		l.mute = l.mute || hit
		l.mu.Unlock()
		if !hit || l.passes {
			_, _ = server.Write(said[:n])
		}
		if !hit {
			continue
		}
		if l.passes {
			l.awaitCode()
		}
		l.cut()
		return
	}
}

// awaitCode waits until the store has a code, or the test is over.
func (l *line) awaitCode() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		stream, err := l.js.Stream(l.t.Context(), "CODE")
		if l.t.Context().Err() != nil || err == nil && stream.CachedInfo().State.Msgs == 1 {
			return
		}
		<-tick.C
	}
}
