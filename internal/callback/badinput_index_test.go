package callback_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// held says which test holds entries of the bad-input catalogue for the edge, the links and the identities. Where the
// answer is not the one that the catalogue wants, why says why not.
type held struct{ by, entries, why string }

// catalogue is the index. Entries are separated by ";".
func catalogue() []held {
	return []held{
		// The callback: 400, nothing touched.
		{by: "TestAMalformedAnswerTouchesNothing", entries: "empty query; neither code nor error; code empty; state missing; state empty; code twice; state twice; " +
			"code and error together; state 42 chars; state 44 chars; state with =; state with +; code > 4 KB; code with NUL; code with CRLF; code with space; " +
			"code with invalid UTF-8; code of emoji; code of spaces; %zz escape; code=a;state=b (one entry); Code=; code[]=; double-encoded names; iss twice; error without state"},
		{by: "TestFurtherMalformedAnswersTouchNothing", entries: "state 5 KB"},
		{by: "TestFurtherMalformedAnswersTouchNothing", entries: "10,001 parameters", why: "413 or 414: the sizes are judged before anything is parsed"},
		{by: "TestARequestOfTheWrongFormTouchesNothing", entries: "JSON body; multipart body", why: "415, as the catalogue wants of a wrong content type"},
		{by: "TestABodyOfTwoLengthsIsRefused", entries: "CL and TE together"},
		// 405, 404, 413, 414, 415, 421, 431, or cut.
		{by: "TestARequestOfTheWrongFormTouchesNothing", entries: "PUT; DELETE; TRACE; HEAD; unknown registration in path; body 17 KB; wrong content type; URL 64 KB; " +
			"foreign Host; spoofed X-Forwarded-Host"},
		{by: "TestAWayOutOfTheCallbackLeadsNowhere", entries: "/cb/../console"},
		{by: "TestSpoofedForwardingHeadersAreIgnored", entries: "spoofed X-Forwarded-Host (right Host); spoofed X-Forwarded-For"},
		{by: "TestTheClientBehindATrustedProxyIsTheOneThatIsLimited", entries: "spoofed X-Forwarded-For (limits)"},
		{by: "TestLongHeadersAreRefused", entries: "headers 20 KB"},
		{by: "TestEveryServerHasItsLimits", entries: "headers slower than 5 s; body slower than 10 s"},
		{by: "TestAnUnusableConfigurationIsRefusedWithEveryReason", entries: "plain HTTP", why: "the balancer ends TLS; the edge refuses to be configured with a public http address"},
		// 403, not this browser.
		{by: "TestAnAnswerCountsOnlyInTheBrowserThatAsked", entries: "valid state, no cookie; cookie of another attempt; one byte flipped; sealed with deleted key; " +
			"cookie 16 min old; cookie from the future > 60 s; name without __Host-; two same-named cookies, none opens; state of another registration (COAT); " +
			"foreign iss; well-formed state never issued; victim finishing attacker's attempt (COSF)"},
		{by: "TestTheStateOfAnotherInvitationIsRefused", entries: "state of another invitation"},
		// 303, the same again.
		{by: "TestTheSameAnswerMayComeAgain", entries: "reload"},
		{by: "TestAnswersThatComeAtOnceAreEachTakenOnce", entries: "double click"},
		{by: "TestABrowserThatFetchesAheadOrGoesBackIsThankedOnce", entries: "browser prefetch; back button"},
		{by: "TestTheSameAnswerIsThankedForWhenItsOwnTokensAreSaved", entries: "same pair after success"},
		// 409 and 410.
		{by: "TestALateOrSecondAnswerTouchesNothing", entries: "used state + other code; used state + error; expired attempt; revoked invitation; erased mailbox; already connected"},
		// Fixed text.
		{by: "TestAnErrorOfMicrosoftIsRecordedAndExplainedInOurWords", entries: "access_denied; consent_required; interaction_required; login_required; server_error; " +
			"temporarily_unavailable; invalid_scope (alarm); unauthorized_client (alarm); unknown error foo; error 10 KB; <script> in description; ANSI in description; " +
			"U+202E in description; javascript: error_uri", why: "303 to the text instead of 200: the address of an answer must not stay in the browser"},
		{by: "TestTheClassifierHearsOnlyHarmlessText", entries: "controls in error and description"},
		// 429 and 503, the state can still be used.
		{by: "TestAFloodIsSlowedDownAndTouchesNothing", entries: "per-IP flood"},
		{by: "TestAnUnstoredAnswerIsNotThankedForAndMayComeAgain", entries: "NATS down"},
		{by: "TestAConsentThatMeetsNoServerIsTakenWhenItIsBack", entries: "NATS down (real); no KV leader"},
		{by: "TestAnAcknowledgementThatDoesNotComeIsNotWaitedForLongerThanFiveSeconds", entries: "no ack in 5 s"},
		{by: "TestAConsentThatMeetsAFullStreamIsTakenWhenThereIsRoom", entries: "stream full 10023"},
		{by: "TestWithoutAKeyNoStateIsUsedUp", entries: "keyset not loaded"},
		{by: "TestHTTPIsServedUntilItsNoticeIsOver", entries: "draining"},
		// Links that are not found.
		{
			by: "TestAnUnknownLinkIsNotFound", entries: "random token; truncated token; upper-cased; two trailing marks; %0A inside; =3D wrapped; double-encoded; empty; 4 KB; ..%2f; NUL; " +
				"homoglyphs; token of another environment",
			why: "the time is not measured, as a busy machine would decide; what a link must be known for, 120 bits each of id and proof, no timing gives away",
		},
		{by: "TestALinkOpensWhateverIsHungOnIt", entries: "trailing . ) > (stripped once)"},
		{by: "TestAnInvitationThatWasDeletedIsNotFound", entries: "deleted invitation"},
		// The landing page.
		{by: "TestALinkOpensWhateverIsHungOnIt", entries: "?next=; ?redirect_uri=; ?login_hint=; ?prompt=none; ?scope=; ?tenant=evil; ?state=fixed; ?lang=<script>; utm tags; HEAD; Sec-Purpose prefetch"},
		{by: "TestEveryVisitorOfALinkSeesTheSamePage", entries: "Safe Links GET; chat preview GET; GET from another country"},
		{by: "TestOpeningALinkHasNoEffect", entries: "50 GETs a second"},
		{by: "TestChromiumShowsEveryPageOfTheEdge", entries: "no JS; no CSS"},
		{by: "TestEveryAnswerOfEveryRouteHasItsHeaders", entries: "framed by webmail"},
		// The start.
		{by: "TestAStartThatIsNotOurButtonIsRefused", entries: "scanner POST; cross-site POST; sibling POST; null Origin without Sec-Fetch-Site; text/plain body; 1 MB body"},
		{by: "TestTenAttemptsLiveAtOnceAndTheEleventhIsRefused", entries: "10 starts; 11th"},
		{by: "TestParametersOfTheStartAreIgnored", entries: "_method override; X-HTTP-Method-Override; extra fields"},
		{by: "TestWhoRefusesCookiesIsToldSo", entries: "cookies off"},
		{by: "TestALinkThatIsOverSaysWhy", entries: "start after completion"},
		{by: "TestTwoTabsBothWork", entries: "two tabs"},
		// The status page.
		{by: "TestALinkThatIsOverSaysWhy", entries: "expired 61 s ago; expired 59 s ago; revoked; superseded; erased; connected"},
		{by: "TestTheDonePageShowsEveryState", entries: "mismatch; alias; every reason"},
		{by: "TestALinkThatIsOverSaysWhy", entries: "campaign paused; not yet valid", why: "there is neither: a campaign is not paused, and a link opens when it is made"},
		// Identities: mismatch, tokens destroyed.
		{by: "TestOnlyTheInvitedAccountIsProvenToBeIt", entries: "other user, same tenant; other tenant; alias; shared mailbox's delegate; link forwarded to a colleague; distribution list; " +
			"null mail and other UPN; look-alike IDN; other letter case; renamed UPN with same oid"},
		{
			by: "TestAPersonalAccountCountsOnlyWherePersonalAccountsAreWanted", entries: "personal account with the same address",
			why: "an app of tenant common or consumers takes them: the operator has said that personal mailboxes are wanted",
		},
		{by: "TestAMismatchSaysWhoConsentedAndShowsItNowhere", entries: "guest #EXT#"},
		{by: "TestSomeoneElsesTokensAreDestroyed", entries: "tokens shredded"},
		{by: "TestAnAcceptedAccountIsRegisteredUnderItsOwnProof", entries: "alias (operator may approve)"},
		{
			by: "TestTheInvitedOwnerIsProven", entries: "oid changed since last consent",
			why: "accepted: the address is what was invited, and it is that account's own now. Tokens are replaced only after an operator's new link or a revocation",
		},
		{by: "TestASecondConsentReplacesTheTokens", entries: "second consent by same oid"},
		{
			by: "TestTwoTabsBothWork", entries: "two owners race on one invitation",
			why: "no 409: both are proven, whoever is not the invited one is a mismatch, and of the owner's two the newer wins",
		},
		{by: "TestAddressIsRefusedWithItsReason", entries: "foreign domain; domain of another tenant of ours"},
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
		if !names[h.by] {
			t.Errorf("there is no test %s, which should hold: %s", h.by, h.entries)
		}
	}
	if entries < 125 {
		t.Errorf("the index names %d entries", entries)
	}
}
