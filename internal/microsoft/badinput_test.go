package microsoft_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// What Microsoft, or whatever stands in its place, can answer, and the test that holds what becomes of it. All of them
// speak real HTTP; each sub-test or table row is one kind of answer.
//
//	TestOddGoodAnswersLoseNoToken, TestAWrongDateOfTheServerIsIgnored           accepted, nothing lost
//	TestAnIncompleteGrantIsRefusedWithItsRemedy, TestTheMissingScopeOfDefaultHasItsOwnRemedy,
//	TestAMissingIDTokenIsRefusedOnlyIfItWasAskedFor                             incomplete_grant
//	TestAnIDTokenThatProvesNothingIsRefused, TestSomeoneElsesMailboxIsAMismatchThatShowsNoAddress,
//	TestTheIssuerIsThatOfTheCloudAndTheTenant, TestInventedKeyIDsDoNotMakeUsHammerMicrosoft,
//	TestAWrongSignatureFetchesNothing, TestGraphsTroubleKeepsTheTokensForLater  identity refused, or not yet
//	TestAnAnswerThatMayHaveSpentTheCodeIsTransientAndAskedForOnce,
//	TestAConnectionThatIsToldToGoAwayAsksOnce                                   unknown: the code may be spent
//	TestWhatWasNeverSentHoldsTheLegAndNotTheCode,
//	TestACertificateThatIsNotMicrosoftsGetsNothing, TestAProxyThatRefusesGetsNothing  not sent
//	TestNoRedirectIsFollowed                                                    never followed
//	TestEveryCodeOfTheTableHasItsMeaningOnBothLanes, TestWithoutAKnownNumberTheErrorDecides,
//	TestASuberrorRefinesInvalidGrant                                            terminal, stage pause, owner acts
//	TestTooManyRequestsWaitsAsAsked                                             wait
//	TestAnOddErrorAnswerIsStillClassified, TestWithoutAKnownNumberTheErrorDecides  odd
//	TestWhatBecomesOfAMailbox                                                   the same as an operator sees it

func TestTheIndexNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all, index string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
		if file == "badinput_test.go" {
			index, _, _ = strings.Cut(string(text), "\nfunc ")
		}
	}
	names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(index, -1)
	for _, name := range names {
		if !strings.Contains(all, "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("%s is in the index, and nowhere else", name)
		}
	}
	if len(names) < 20 {
		t.Errorf("the index names %d tests: the pattern is broken", len(names))
	}
}

// record is a fact of one mailbox, as the store keeps it.
type record[T any] struct {
	fact     T
	revision uint64
}

func (r *record[T]) Load(context.Context, mailbox.ID) (T, uint64, error) {
	return r.fact, r.revision, nil
}

func (r *record[T]) Save(_ context.Context, _ mailbox.ID, fact T, revision uint64) (uint64, error) {
	if revision != r.revision {
		return 0, handlers.ErrConflict
	}
	r.fact, r.revision = fact, revision+1
	return r.revision, nil
}

// unsealed opens what was never sealed.
type unsealed struct{}

func (unsealed) Open(sealed []byte, _ string) ([]byte, error) { return sealed, nil }

// worker is token-worker for one mailbox, with the real client.
type worker struct {
	server      *fake
	invitations *record[mailbox.Invitation]
	grants      *record[mailbox.Grant]
	redeem      handlers.RedeemCode
	refresh     handlers.RefreshGrant
	now         time.Time
}

const boxID = "mbxmbxmbxmbxmbxmbxmbxmbx"

func newWorker(t *testing.T) *worker {
	t.Helper()
	w := &worker{
		server: newFake(t), now: clock(), grants: &record[mailbox.Grant]{},
		invitations: &record[mailbox.Invitation]{revision: 1, fact: mailbox.Invitation{
			ID: boxID, App: "main", Account: "agency", Address: address, InvitedAt: clock(), LinkExpiresAt: clock().Add(time.Hour),
		}},
	}
	w.server.onToken(w.good(t))
	client, now := w.server.clientAt(t, func() time.Time { return w.now }), func() time.Time { return w.now }
	w.redeem = handlers.RedeemCode{
		Invitations: w.invitations, Grants: w.grants, Codes: unsealed{}, Microsoft: client, Owner: "w1", Now: now,
	}
	w.refresh = handlers.RefreshGrant{Invitations: w.invitations, Grants: w.grants, Microsoft: client, Margin: 10 * time.Minute, Now: now}
	return w
}

// good is an answer with which everything succeeds.
func (w *worker) good(t *testing.T) http.HandlerFunc {
	t.Helper()
	return answerJSON(http.StatusOK, with(goodGrant(), "id_token", idToken(t, w.server.URL, nil).Reveal()))
}

func (w *worker) code(t *testing.T) events.Event {
	t.Helper()
	sealed, err := consent().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	e := events.New(events.CodeReceived, mailbox.CodeSeed(boxID, "att01", mailbox.Hash(consent().Code.Reveal())), clock())
	e.Mailbox, e.App, e.Account, e.Attempt, e.Sealed = boxID, "main", "agency", "att01", sealed
	e.Deadline = clock().Add(mailbox.CodeLife)
	return e
}

// deliver handles e as the bus does: what may not be tried again is buried.
func (w *worker) deliver(t *testing.T, e events.Event) ([]events.Event, *fault.Fault) {
	t.Helper()
	handle, bury := w.redeem.Handle, w.redeem.Bury
	if e.Kind == events.RefreshRequested {
		handle, bury = w.refresh.Handle, w.refresh.Bury
	}
	follow, err := handle(t.Context(), e)
	if err == nil {
		return follow, nil
	}
	f := fault.Of(err)
	if f.Class == fault.Permanent || f.Class == fault.NeedsConsent {
		if err := bury(t.Context(), e, f); err != nil {
			t.Fatal(err)
		}
	}
	return nil, f
}

func (w *worker) status() mailbox.Status {
	return mailbox.View(mailbox.Facts{Invitation: w.invitations.fact, Grant: w.grants.fact}, w.now)
}

// story is what is answered to one delivery after the other, and how the mailbox stands then.
type story struct {
	token   []http.HandlerFunc // to each delivery of the code; nil: tokens
	graph   http.HandlerFunc
	refresh http.HandlerFunc // to a refresh afterwards, of tokens that have grown old

	state  mailbox.State
	reason string
	code   string // of the finding
	tokens bool   // are stored
	sends  int32  // requests to the token endpoint
	next   events.Kind
}

func TestWhatBecomesOfAMailbox(t *testing.T) {
	t.Parallel()
	refusal := func(code int) http.HandlerFunc { return errorAnswer("invalid_grant", code) }
	lost, unknown := answerText(500, ""), errorAnswer("something_new", 99999999)
	claim := func(change map[string]any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			answerJSON(http.StatusOK, with(goodGrant(), "id_token", idToken(t, "http://"+r.Host, change).Reveal()))(w, r)
		}
	}
	const (
		granted, needs, dead = mailbox.StateGranted, mailbox.StateNeedsConsent, mailbox.StateDead
		register, again      = events.RegistrationRequested, events.RefreshRequested
	)
	for name, s := range map[string]story{
		"tokens":                                   {state: granted, tokens: true, sends: 1, next: register},
		"a lost answer, then tokens":               {token: []http.HandlerFunc{lost, nil}, state: granted, tokens: true, sends: 2, next: register},
		"first try: expired":                       {token: []http.HandlerFunc{refusal(70008)}, state: needs, reason: mailbox.CodeExpired, code: "AADSTS70008", sends: 1},
		"first try: redeemed":                      {token: []http.HandlerFunc{refusal(54005)}, state: needs, reason: mailbox.CodeExpired, code: "AADSTS54005", sends: 1},
		"first try: verifier":                      {token: []http.HandlerFunc{refusal(501481)}, state: needs, reason: mailbox.SignInFailed, code: "AADSTS501481", sends: 1},
		"first try: redirect mismatch":             {token: []http.HandlerFunc{refusal(500112)}, state: needs, reason: mailbox.SignInFailed, code: "AADSTS500112", sends: 1},
		"invalid_grant after unknown":              {token: []http.HandlerFunc{lost, refusal(54005)}, state: needs, reason: mailbox.ConsentLost, code: "consent_lost", sends: 2},
		"an unknown error, three times":            {token: []http.HandlerFunc{unknown, unknown, unknown, unknown}, state: needs, reason: mailbox.ConsentLost, code: "consent_lost", sends: 3},
		"error and tokens together":                {token: []http.HandlerFunc{answerJSON(200, with(goodGrant(), "error", "invalid_grant"))}, state: needs, reason: mailbox.CodeExpired, code: "invalid_grant", sends: 1},
		"no refresh token":                         {token: []http.HandlerFunc{answerJSON(200, with(goodGrant(), "refresh_token", nil))}, state: dead, code: "incomplete_grant_no_refresh_token", sends: 1},
		"a permission is missing":                  {token: []http.HandlerFunc{answerJSON(200, with(goodGrant(), "scope", "User.Read"))}, state: dead, code: "incomplete_grant_missing_scope", sends: 1},
		"no id_token":                              {token: []http.HandlerFunc{answerJSON(200, with(goodGrant(), "id_token", nil))}, state: dead, code: "incomplete_grant_no_id_token", tokens: true, sends: 1},
		"another nonce":                            {token: []http.HandlerFunc{claim(map[string]any{"nonce": "other"})}, state: mailbox.StateMismatch, code: handlers.CodeMismatch, sends: 1},
		"another audience":                         {token: []http.HandlerFunc{claim(map[string]any{"aud": "other"})}, state: dead, code: "identity_unproven", tokens: true, sends: 1},
		"Graph: somebody else":                     {graph: answerJSON(200, with(goodProfile(), "mail", "boss@contoso.example")), state: mailbox.StateMismatch, code: handlers.CodeMismatch, sends: 1},
		"Graph: another object":                    {graph: answerJSON(200, with(goodProfile(), "id", tenantID)), state: mailbox.StateMismatch, code: handlers.CodeMismatch, sends: 1},
		"Graph: 403":                               {graph: answerText(403, ""), state: dead, code: "graph_403", tokens: true, sends: 1},
		"Graph: 404":                               {graph: answerText(404, ""), state: dead, code: "graph_404", tokens: true, sends: 1},
		"Graph: 503":                               {graph: answerText(503, ""), state: granted, tokens: true, sends: 1, next: again},
		"Graph: 429":                               {graph: answerText(429, "", "Retry-After", "7"), state: granted, tokens: true, sends: 1, next: again},
		"refresh: revoked":                         {refresh: refusal(50173), state: needs, reason: mailbox.Revoked, code: "AADSTS50173", sends: 2},
		"refresh: expired":                         {refresh: refusal(700082), state: needs, reason: mailbox.Revoked, code: "AADSTS700082", sends: 2},
		"refresh: second factor":                   {refresh: errorAnswer("interaction_required", 50076), state: needs, reason: mailbox.SignInFailed, code: "AADSTS50076", tokens: true, sends: 2, next: again},
		"refresh: conditional access":              {refresh: refusal(53003), state: needs, reason: mailbox.AdminRequired, code: "AADSTS53003", tokens: true, sends: 2, next: again},
		"refresh: the consent is gone":             {refresh: refusal(65001), state: needs, reason: mailbox.SignInFailed, code: "AADSTS65001", tokens: true, sends: 2, next: again},
		"refresh: a number nobody knows":           {refresh: refusal(99999999), state: needs, reason: mailbox.SignInFailed, code: "invalid_grant", tokens: true, sends: 2, next: again},
		"refresh: a loop, no dead grant":           {refresh: refusal(50196), state: granted, tokens: true, sends: 2},
		"refresh: wrong secret":                    {refresh: errorAnswer("invalid_client", 7000215), state: granted, tokens: true, sends: 2},
		"refresh: an answer without refresh token": {refresh: answerText(200, `{"access_token":"new","expires_in":3600}`), state: granted, tokens: true, sends: 2, next: register},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.check(t)
		})
	}
}

func (s story) check(t *testing.T) {
	t.Helper()
	w := newWorker(t)
	if s.graph != nil {
		w.server.onGraph(s.graph)
	}
	var follow []events.Event
	for _, answer := range append(s.token, make([]http.HandlerFunc, max(0, 1-len(s.token)))...) {
		if answer == nil {
			answer = w.good(t)
		}
		w.server.onToken(answer)
		follow, _ = w.deliver(t, w.code(t))
		w.now = w.now.Add(time.Second)
	}
	if s.refresh != nil {
		w.now = w.now.Add(2 * time.Hour)
		w.server.onToken(s.refresh)
		if len(follow) != 1 {
			t.Fatalf("the redeem did not succeed: %+v", w.status())
		}
		follow, _ = w.deliver(t, follow[0].Follow(events.RefreshRequested, w.now))
	}
	got, grant := w.status(), w.grants.fact
	if got.State != s.state || got.Reason != s.reason || s.code != "" && (got.Finding == nil || got.Finding.Code != s.code) {
		t.Errorf("%s %q %+v, want %s %q %s", got.State, got.Reason, got.Finding, s.state, s.reason, s.code)
	}
	if (grant.Tokens != nil) != s.tokens || w.server.hits.Load() != s.sends {
		t.Errorf("tokens %t after %d requests, want %t after %d", grant.Tokens != nil, w.server.hits.Load(), s.tokens, s.sends)
	}
	var next events.Kind
	if len(follow) > 0 {
		next = follow[0].Kind
	}
	if next != s.next {
		t.Errorf("followed by %q, want %q", next, s.next)
	}
	if s.refresh != nil && s.tokens && grant.Tokens != nil && !grant.Tokens.Refresh.Equal(secret.New("refresh-"+canary)) {
		t.Error("the refresh token was lost")
	}
}
