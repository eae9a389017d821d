//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"kindling/internal/campaign/sample"
	"kindling/internal/console"
	"kindling/internal/mailbox"
	"kindling/internal/sandbox"
	"kindling/internal/sim/crowd"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

const mailboxes = 300

// microsoftSecret is the form of the simulated Microsoft's codes, refresh tokens and access tokens.
var microsoftSecret = regexp.MustCompile(`(1\.AXkA|1\.ARkB|EwBA)[A-Z2-7]{26}`)

// TestMailboxesSurviveKillsOfEveryProcess sends 300 mailboxes through two of each process while a random one is killed
// with SIGKILL every second. In the end every mailbox must be in exactly one state, no code may have been sent again
// once its tokens were saved, and no mailbox may exist twice at Warmy.
func TestMailboxesSurviveKillsOfEveryProcess(t *testing.T) {
	t.Parallel() // it waits for the leases of the dead for much of its time
	f := startFleet(t, 6000)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	play(t, f.world.Microsoft, trouble.Control{Add: []trouble.Rule{
		{Kind: trouble.Throttled, Op: msid.OpCode, RetryAfter: "1", Probability: 0.03},
		{Kind: trouble.BadGateway, Op: msid.OpMe, Probability: 0.03},
	}})
	// A second POST would make a second mailbox: nothing at Warmy hides a double registration.
	play(t, f.world.Warmy, trouble.Control{Switches: json.RawMessage(`{"duplicate":"second"}`), Add: []trouble.Rule{
		{Kind: trouble.Reset, Op: warmyapi.OpCreate, Commit: true, Probability: 0.03},
		{Kind: trouble.ServerError, Op: warmyapi.OpCreate, Probability: 0.03},
	}})
	campaign := f.importSample(t)
	links := f.links(t, campaign)
	if len(links) != mailboxes {
		t.Fatalf("%d links for %d mailboxes", len(links), mailboxes)
	}
	mix := crowd.Mix{Decline: 0.03, WrongAccount: 0.03, DoubleClick: 0.1, Seed: seed}

	stopKilling := f.killEverySecond(t, seed)
	f.visit(t, links, mix)
	eventually(t, time.Minute, "thirty kills", func() bool { return stopKilling.kills() >= 30 })
	kills := stopKilling.stop()
	f.awaitSettled(t, campaign)
	f.checkLedgers(t, campaign, kills)

	// Those whose consent was lost with a worker follow their link again; then everybody who accepted is registered.
	f.visit(t, f.lost(t, campaign), crowd.Mix{Seed: seed})
	f.awaitSettled(t, campaign)
	f.checkStates(t, campaign, mix)
	f.stop(t)
	f.checkSecrets(t)
}

func (f *fleet) importSample(t *testing.T) string {
	t.Helper()
	var csv bytes.Buffer
	if err := sample.Write(&csv, mailboxes); err != nil {
		t.Fatal(err)
	}
	var report console.ImportReport
	eventually(t, time.Minute, "the import", func() bool {
		return f.ask(t, http.MethodPost, "/campaigns?name=e2e", "text/csv", csv.Bytes(), &report) == nil
	})
	if report.Invited != mailboxes {
		t.Fatalf("import: %+v", report)
	}
	return report.Campaign
}

func (f *fleet) links(t *testing.T, campaign string) []console.LinkView {
	t.Helper()
	var body bytes.Buffer
	eventually(t, time.Minute, "the links", func() bool {
		body.Reset()
		return f.ask(t, http.MethodGet, "/campaigns/"+campaign+"/links?format=jsonl", "", nil, &body) == nil
	})
	var links []console.LinkView
	for line := range strings.Lines(body.String()) {
		var l console.LinkView
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
	}
	return links
}

// visit lets the owners follow their links. An owner who meets an error page tries again, as people do.
func (f *fleet) visit(t *testing.T, links []console.LinkView, mix crowd.Mix) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, l := range links {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := persist(t.Context(), l, mix.Of(l.Email)); err != nil {
				t.Errorf("the owner of %s gave up: %v", l.Email, err)
			}
		})
	}
	wg.Wait()
}

// persist visits until the owner is told that the answer has arrived, or that there is nothing left to do.
func persist(ctx context.Context, l console.LinkView, does crowd.Behaviour) error {
	var last error
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for range 60 {
		outcome, err := crowd.Crowd{Timeout: 20 * time.Second}.Visit(ctx, l.Link, l.Email, does)
		if err == nil && outcome.Status == http.StatusOK && (outcome.Stage == crowd.Returned || outcome.Stage == crowd.Landed) {
			return nil
		}
		last = fmt.Errorf("at %s with status %d: %w", outcome.Stage, outcome.Status, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return last
}

// killer kills a random product every second and starts it again.
type killer struct {
	mu    sync.Mutex
	count map[string]int
	end   chan struct{}
	once  sync.Once
	done  chan struct{}
}

func (f *fleet) killEverySecond(t *testing.T, seed uint64) *killer {
	t.Helper()
	k := &killer{count: make(map[string]int), end: make(chan struct{}), done: make(chan struct{})}
	t.Cleanup(func() { k.stop() }) // before the products' own clean-up, or it would start them again
	random := rand.New(rand.NewPCG(seed, 0))
	go func() {
		defer close(k.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-k.end:
				return
			case <-tick.C:
			}
			p := f.products[random.IntN(len(f.products))]
			p.kill(t)
			p.start(t)
			k.mu.Lock()
			k.count[p.name]++
			k.mu.Unlock()
		}
	}()
	return k
}

func (k *killer) kills() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, c := range k.count {
		n += c
	}
	return n
}

func (k *killer) stop() map[string]int {
	k.once.Do(func() { close(k.end) })
	<-k.done
	return k.count
}

func (f *fleet) states(t *testing.T, campaign string) ([]console.MailboxView, error) {
	t.Helper()
	var all []console.MailboxView
	for cursor := ""; ; {
		var page console.MailboxList
		path := "/mailboxes?limit=200&campaign=" + campaign
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if err := f.ask(t, http.MethodGet, path, "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Mailboxes...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

func (f *fleet) awaitSettled(t *testing.T, campaign string) {
	t.Helper()
	var open []string
	defer func() {
		if t.Failed() {
			t.Logf("still moving: %s", strings.Join(open, ", "))
		}
	}()
	eventually(t, 8*time.Minute, "every mailbox has settled", func() bool {
		all, err := f.states(t, campaign)
		if err != nil || len(all) != mailboxes {
			return false
		}
		open = open[:0]
		for _, m := range all {
			switch m.State {
			case mailbox.StateRegistered, mailbox.StateNeedsConsent, mailbox.StateMismatch, mailbox.StateDead:
			default:
				open = append(open, fmt.Sprintf("%s %s", m.Address, m.State))
			}
		}
		return len(open) == 0
	})
}

// checkLedgers asks the simulators whether a promise was broken while processes died.
func (f *fleet) checkLedgers(t *testing.T, campaign string, kills map[string]int) {
	t.Helper()
	all, err := f.states(t, campaign)
	if err != nil {
		t.Fatal(err)
	}
	state := make(map[string]console.MailboxView, len(all))
	count := make(map[string]int)
	for _, m := range all {
		state[m.Address] = m
		count[strings.TrimSuffix(string(m.State)+"/"+m.ReasonCode, "/")]++
	}
	ms, codes, wa := f.ledgers(t)
	t.Logf("killed %v; states %v; %d codes, %d sent twice; %d mailboxes at Warmy for %d addresses", kills, count, ms.Codes, ms.SentTwice, wa.Mailboxes, wa.Addresses)
	if wa.CreatedTwice != 0 || wa.Mailboxes != wa.Addresses || wa.ForeignTokens != 0 {
		t.Errorf("Warmy: %d created twice, %d mailboxes for %d addresses, %d with foreign tokens", wa.CreatedTwice, wa.Mailboxes, wa.Addresses, wa.ForeignTokens)
	}
	for _, c := range codes {
		// The simulator cannot know whether tokens that it delivered were saved before the worker was killed. If they
		// were, sending the code again is the broken promise; if not, the mailbox must say that its consent was lost.
		m := state[strings.ToLower(c.Address)]
		if c.SentAfterTokens() && m.State == mailbox.StateRegistered {
			t.Errorf("a code of %s was sent again although the mailbox had its tokens", m.Address)
		}
	}
}

// lost are the links of those whose consent ended with a killed process.
func (f *fleet) lost(t *testing.T, campaign string) []console.LinkView {
	t.Helper()
	var lost []console.LinkView
	for _, l := range f.links(t, campaign) {
		if l.State == mailbox.StateNeedsConsent && (l.Reason == mailbox.ConsentLost || l.Reason == mailbox.CodeExpired) {
			lost = append(lost, l)
		}
	}
	t.Logf("%d owners follow their link again", len(lost))
	return lost
}

// checkStates compares where every mailbox ended with what its owner did.
func (f *fleet) checkStates(t *testing.T, campaign string, mix crowd.Mix) {
	t.Helper()
	all, err := f.states(t, campaign)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		want := mailbox.StateRegistered
		switch mix.Of(m.Address) {
		case crowd.Decline:
			want = mailbox.StateNeedsConsent
		case crowd.WrongAccount:
			want = mailbox.StateMismatch
		case crowd.Accept, crowd.DoubleClick, crowd.SlowCode, crowd.Abandon:
		}
		if m.State != want {
			t.Errorf("%s is %s (%s), want %s", m.Address, m.State, m.Code, want)
		}
	}
	var wa struct {
		Summary warmyapi.Summary `json:"summary"`
	}
	if err := request(t, http.MethodGet, f.world.Warmy+"/_sim/ledger", "", "", nil, &wa); err != nil {
		t.Fatal(err)
	}
	if wa.Summary.CreatedTwice != 0 {
		t.Errorf("%d mailboxes were created twice at Warmy", wa.Summary.CreatedTwice)
	}
}

// checkSecrets looks for secrets in everything that was written: the store's files and every process's log at debug.
func (f *fleet) checkSecrets(t *testing.T) {
	t.Helper()
	canaries := []string{sandbox.ClientSecret, sandbox.APIKey, f.token}
	search := func(where string, data []byte) {
		for _, c := range canaries {
			if bytes.Contains(data, []byte(c)) {
				t.Errorf("%s holds a secret in clear (%.6s…)", where, c)
			}
		}
		if found := microsoftSecret.Find(data); found != nil {
			t.Errorf("%s holds a code or a token in clear (%.6s…)", where, found)
		}
	}
	for _, p := range append(f.products, f.nats) {
		search("the log of "+p.name, []byte(p.said()))
	}
	files := 0
	err := filepath.WalkDir(f.store, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files++
		search(path, data)
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("searched %d files of the store: %v", files, err)
	}
}
