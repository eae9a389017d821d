package warmy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// badInput is the catalogue of bad input for Warmy's answers, POST and listing, as it was agreed.
const badInput = `numeric id; string id; nested mailbox.id; extra fields;
time-out; RST; EOF; short body; 200 empty; 200 without id; id null; id 0; id -1; id 1e20; duplicate id keys; 200 HTML; 200 array;
200 bad JSON; trailing garbage; other address echoed; 202; 204; 408; 499; 500; 502; 503; 504; 520; 521; 522; 523; 524; 100 MB body;
gzip bomb; slow drip; Latin-1 body; GOAWAY;
DNS; refused; TLS; breaker open; limiter deadline; shutdown before write;
401; 402; 403; 403 challenge page; 404; 405; 410; 415; 301; 307; plan limit reached; maintenance page;
400; 422 tariff; 422 token; 422 provider; 413; 451; success false; 409; 422 e-mail taken;
429 + seconds; 429 + date; 429 bare; 429 negative; 429 huge; 429 storm;
page 2 = page 1; endless pages; total changes midway; count falls > 20 %; empty after 500 rows; listing 500; listing time-out;
item without e-mail; same e-mail twice; id seen on another mailbox; lag behind create; other letter case; outer spaces;
state disconnected;
echoes refresh_token; secret in error text; Set-Cookie; later async disconnect; answer after erase`

// held says which test holds entries of the catalogue, each with the text by which its row is known in the test's source; "" is
// the entry's own name in quotes. Where the answer is not the one that the catalogue wants, why says why not.
type held struct {
	by   string
	rows map[string]string
	why  string
}

func index() []held {
	return []held{
		{by: "TestEveryShapeOfAnIDIsRead", rows: map[string]string{
			"numeric id": `"numeric"`, "string id": `"text"`, "nested mailbox.id": `"nested"`, "extra fields": `"extra"`,
		}},
		// Unknown: asked of the listing, never posted again blindly.
		{by: "TestWhatMayHaveTakenEffectIsUnclearAndPostedOnce", rows: map[string]string{
			"time-out": "", "RST": "", "EOF": "", "short body": "", "200 empty": `"empty"`, "200 without id": `"without id"`, "id null": "", "id 0": "",
			"id -1": "", "id 1e20": "", "duplicate id keys": `"id twice"`, "200 HTML": `"HTML"`, "200 array": `"a list"`, "200 bad JSON": `"bad JSON"`,
			"trailing garbage": "", "other address echoed": `"other address"`, "202": "", "204": "", "500": "", "502": "", "503": "", "504": "", "520": "",
			"521": "", "522": "", "523": "", "524": "", "100 MB body": `"endless"`, "gzip bomb": "", "slow drip": "", "Latin-1 body": `"Latin-1"`,
			"409": `"taken 409"`, "422 e-mail taken": `"taken 422 by field"`, "e-mail taken at the top": `"taken at the top"`, "e-mail taken in a bare list": `"taken in a bare list"`,
			"e-mail taken in plain text": `"taken in plain text"`, "success false, taken": `"taken with 200"`, "success false with an id": `"no, with an id"`,
			"422 cut off": `"422 and a cut body"`, "400 cut off": `"400 and a cut body"`,
		}},
		{by: "TestWhatSaysNothingOfWarmysHealthIsNotCounted", rows: map[string]string{"408": "", "499": "", "429 beside failures": `"429"`}},
		{by: "TestAConnectionThatGoesAwayCausesNoSecondPost", rows: map[string]string{"GOAWAY": "goAway"}},
		{by: "TestAGetOnAConnectionThatBreaksIsNotRepeated", rows: map[string]string{"EOF on a kept connection": "answerOnce"}},
		// Not sent.
		{by: "TestWhatWasNeverSentIsTransient", rows: map[string]string{"DNS": "nowhere.invalid", "refused": "refusing", "TLS": "untrusted.URL"}},
		{by: "TestAHandshakeThatHangsSentNothing", rows: map[string]string{"TLS that hangs": "https://"}},
		{by: "TestAProbeThatHangsEndsBeforeTheNextOneIsDue", rows: map[string]string{"breaker open": `"breaker_open"`}},
		{by: "TestNothingIsSentWithoutTheBudgetsLeave", rows: map[string]string{"limiter deadline": "DeadlineExceeded"}},
		{by: "TestAShutdownBeforeThePostSendsNothingAndDuringItIsUnclear", rows: map[string]string{"shutdown before write": `"warmy_not_sent"`}},
		{by: "TestWaitingForASessionEndsWithTheContext", rows: map[string]string{"session deadline": `"warmy_not_sent"`}},
		// The stage pauses, nothing is buried.
		{by: "TestWhatIsAboutTheAccountHoldsTheLeg", rows: map[string]string{
			"401": "{401,", "402": "{402,", "403": `{403, "",`, "403 challenge page": "<html>challenge", "404": "{404,", "405": "{405,", "410": "{410,",
			"415": "{415,", "301": "{301,", "307": "{307,", "plan limit reached": "limit reached, upgrade", "plan limit with 400": "{400,",
			"success false, plan limit": `{200, ` + "`" + `{"success":false`,
		}},
		{
			by: "TestWhatMayHaveTakenEffectIsUnclearAndPostedOnce", rows: map[string]string{"maintenance page": ""},
			why: "it is a 5xx, or an answer without an id: both are unclear, five 5xx open the breaker, and nothing is buried",
		},
		{by: "TestAFailedListingIsNeverUnclear", rows: map[string]string{
			"maintenance page of a lookup": `"maintenance page"`, "maintenance page of a lookup, with 200": `"maintenance page, with 200"`,
		}},
		{by: "TestWhatCannotBeMadeIsNoOutage", rows: map[string]string{"no address": "", "a header of two lines": ""}},
		{by: "TestASignInThatLeadsToNoSessionIsToldAndNotRepeatedAtOnce", rows: map[string]string{"401 of a sign-in": `"refused"`}},
		{by: "TestASessionThatIsRefusedAtOnceHoldsTheLeg", rows: map[string]string{"401 right after a sign-in": "say(401"}},
		// Refused.
		{by: "TestARefusedMailboxIsBuriedAndOpensNoBreaker", rows: map[string]string{
			"400": "", "422 tariff": "", "422 token": "", "422 provider": "", "413": "", "451": "", "success false": "",
			"echoes refresh_token": `"422 token"`, "secret in error text": "canary",
		}},
		// Wait.
		{by: "TestTooManyRequestsWaitsAsAsked", rows: map[string]string{
			"429 + seconds": `"7"`, "429 + date": "http.TimeFormat", "429 bare": `"":`, "429 negative": `"-5"`, "429 huge": `"999999"`,
		}},
		{by: "TestADateToWaitForIsReadByTheClockThatWroteIt", rows: map[string]string{"429 + date of another clock": "theirs"}},
		{by: "TestA429StopsEveryProcessForAsLongAsItSays", rows: map[string]string{"429 storm": "Throttled"}}, // of internal/bus
		// The listing is not trusted.
		{by: "TestAnOddListingIsNotTrusted", rows: map[string]string{
			"page 2 = page 1": `"page 2 is page 1"`, "total changes midway": `"the total changes midway"`, "item without e-mail": `"an item without an address"`,
			"id seen on another mailbox": `"an id on two mailboxes"`,
		}},
		{by: "TestAPageWhoseCountDoesNotFitIsNone", rows: map[string]string{"count against pages": `"a nonsense count"`, "pages against count": `"a nonsense number of pages"`}},
		{by: "TestAnEndlessListingEnds", rows: map[string]string{"endless pages": "1000"}},
		{by: "TestAFailedListingIsNeverUnclear", rows: map[string]string{"listing 500": `"500"`, "listing time-out": `"time-out"`}},
		{by: "TestAnAddressListedTwiceIsForTheOperator", rows: map[string]string{"same e-mail twice": `"warmy_listed_twice"`}},
		{by: "TestAnAbsentMailboxIsPostedAgainAfterTheSecondListing", rows: map[string]string{"lag behind create": "absen"}},
		{by: "suspects", rows: map[string]string{"count falls > 20 %": `"a quarter is gone"`, "empty after 500 rows": `"all are gone"`}}, // of TestASuspiciousListingAnswersNobody
		{by: "TestARenamedMailboxConcernsNobodyElse", rows: map[string]string{"id seen on another mailbox since": "renamed"}},
		{by: "TestAnAbsenceIsNotBelievedOnAnOldCount", rows: map[string]string{"empty between two lookups": "a.boxes = nil"}},
		{by: "TestAnAddressIsFoundWholly", rows: map[string]string{"other letter case": `"other case"`, "outer spaces": "", "state disconnected": `"disconnected"`}},
		// Privacy.
		{by: "TestASessionFollowsItsRotatingTokenAndKeepsItOverABlankOne", rows: map[string]string{"Set-Cookie": ""}},
		{
			rows: map[string]string{"later async disconnect": "", "answer after erase": ""},
			why:  "they are no answers to a call of this package: whoever watches registered mailboxes and erases them holds them",
		},
	}
}

func TestEveryEntryOfTheCatalogueIsHeldByARowThatExists(t *testing.T) {
	t.Parallel()
	source := functions(t)
	indexed := map[string]bool{}
	for _, h := range index() {
		text, exists := source[h.by]
		if !exists && (h.by != "" || h.why == "") {
			t.Errorf("there is no test %s", h.by)
			continue
		}
		for entry, row := range h.rows {
			indexed[entry] = true
			if row == "" {
				row = `"` + entry + `"`
			}
			if h.by != "" && !strings.Contains(text, row) {
				t.Errorf("%s has no row %s, which should hold: %s", h.by, row, entry)
			}
		}
	}
	for entry := range strings.SplitSeq(badInput, ";") {
		if entry = strings.TrimSpace(entry); !indexed[entry] {
			t.Errorf("nothing holds %q", entry)
		}
	}
}

// functions are the functions of all tests, by name.
func functions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || slices.Contains(strings.Split(path, string(filepath.Separator)), "badinput_index_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for part := range strings.SplitSeq("\n"+string(text), "\nfunc ") {
			name, body, _ := strings.Cut(part, "(")
			found[name] += body
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
