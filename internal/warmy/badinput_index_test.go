package warmy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// held says which test holds entries of the bad-input catalogue for Warmy's answers. Where the answer is not the one that
// the catalogue wants, why says why not.
type held struct{ by, entries, why string }

// catalogue is the index. Entries are separated by ";".
func catalogue() []held {
	return []held{
		{by: "TestEveryShapeOfAnIDIsRead", entries: "numeric id; string id; nested mailbox.id; extra fields"},
		// Unknown: asked of the listing, never posted again blindly.
		{by: "TestWhatMayHaveTakenEffectIsUnclearAndPostedOnce", entries: "time-out; RST; EOF; short body; 200 empty; 200 without id; id null; id 0; id -1; id 1e20; duplicate id keys; " +
			"200 HTML; 200 array; 200 bad JSON; trailing garbage; other address echoed; 202; 204; 408; 499; 500; 502; 503; 504; 520-524; 100 MB body; gzip bomb; slow drip; Latin-1 body"},
		{by: "TestAConnectionThatGoesAwayCausesNoSecondPost", entries: "GOAWAY"},
		{by: "TestOneCreateIsOneArrivalWhateverGoesWrong", entries: "of each of them, at most one arrival"},
		// Not sent.
		{by: "TestWhatWasNeverSentIsTransient", entries: "DNS; refused; TLS"},
		{by: "TestAHandshakeThatHangsSentNothing", entries: "TLS that hangs"},
		{by: "TestAProbeThatHangsEndsBeforeTheNextOneIsDue", entries: "breaker open"},
		{by: "TestNothingIsSentWithoutTheBudgetsLeave", entries: "limiter deadline"},
		{by: "TestAShutdownBeforeThePostSendsNothingAndDuringItIsUnclear", entries: "shutdown before write"},
		{by: "TestWaitingForASessionEndsWithTheContext", entries: "session deadline"},
		// The stage pauses, nothing is buried.
		{by: "TestWhatIsAboutTheAccountHoldsTheLeg", entries: "401; 402; 403; 403 challenge page; 404; 405; 410; 415; 301; 307; plan limit reached"},
		{
			by: "TestWhatMayHaveTakenEffectIsUnclearAndPostedOnce", entries: "maintenance page",
			why: "with 503 it is a 5xx, and with 200 an answer without an id: both are unclear, five 5xx in a minute open the breaker, and nothing is buried",
		},
		{by: "TestASignInThatLeadsToNoSessionIsToldAndNotRepeatedAtOnce", entries: "401 of a sign-in; every bad answer to a sign-in"},
		{by: "TestASessionThatIsRefusedAtOnceHoldsTheLeg", entries: "401 right after a sign-in"},
		// Refused, and reconciled.
		{by: "TestARefusedMailboxIsBuriedAndOpensNoBreaker", entries: "400; 422 tariff; 422 token; 422 provider; 413; 451; {\"success\":false}"},
		{by: "TestWhatMayHaveTakenEffectIsUnclearAndPostedOnce", entries: "409; 422 e-mail taken"},
		// Wait.
		{by: "TestTooManyRequestsWaitsAsAsked", entries: "429 + seconds; 429 + date; 429 bare; 429 negative; 429 huge"},
		{
			by: "TestTooManyRequestsWaitsAsAsked", entries: "429 storm",
			why: "here one is told to the pace; that the whole fleet waits, and then goes at half its rate, is TestA429StopsEveryProcessForAsLongAsItSays of internal/bus",
		},
		// The listing is not trusted.
		{by: "TestAnOddListingIsNotTrusted", entries: "page 2 = page 1; total changes midway; item without e-mail; id seen on another mailbox (in one listing)"},
		{by: "TestAnEndlessListingEnds", entries: "endless pages (cap 1,000)"},
		{by: "TestAFailedListingIsNeverUnclear", entries: "500; time-out"},
		{by: "TestAnAddressListedTwiceIsForTheOperator", entries: "same e-mail twice"},
		{by: "TestAnAbsentMailboxIsPostedAgainAfterTheSecondListing", entries: "lag behind create"},
		{by: "TestASuspiciousListingAnswersNobody", entries: "count falls > 20 %; empty after 500 rows; id seen on another mailbox (since the last listing)"},
		{by: "TestAnAddressIsFoundWholly", entries: "other letter case; outer spaces; state disconnected"},
		{by: "TestWhatIsNoAnswerAboutTheMailboxIsNotBelieved", entries: "every bad answer about one mailbox"},
		{by: "TestACallAboutOneMailboxFailsByItsOwnWords", entries: "every bad status about one mailbox; not allowed transmission with 500"},
		{by: "TestPlansAreListed", entries: "every bad list of plans"},
		// Privacy.
		{by: "TestARefusedMailboxIsBuriedAndOpensNoBreaker", entries: "echoes refresh_token; secret in error text"},
		{by: "TestASessionFollowsItsRotatingTokenAndKeepsItOverABlankOne", entries: "Set-Cookie"},
		{
			entries: "later async disconnect; answer after erase",
			why:     "they are no answers to a call of this package: whoever watches registered mailboxes and erases them holds them",
		},
	}
}

var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

func TestEveryEntryOfTheCatalogueIsHeldByATestThatExists(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range testName.FindAllSubmatch(text, -1) {
			names[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	entries := 0
	for _, h := range catalogue() {
		entries += strings.Count(h.entries, "; ") + 1
		if h.by == "" && h.why != "" {
			continue
		}
		if !names[h.by] {
			t.Errorf("there is no test %s, which should hold: %s", h.by, h.entries)
		}
	}
	if entries < 85 {
		t.Errorf("the index names %d entries", entries)
	}
}
