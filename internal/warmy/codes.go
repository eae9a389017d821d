package warmy

// The codes by which something is decided, here or by whoever handles the fault. All others stand where their fault is made.
const (
	code5xx         = "warmy_5xx"
	codeTimeout     = "warmy_timeout"
	codeLost        = "warmy_connection_lost"
	codeUnreachable = "warmy_unreachable"
	// codeSlow is the code of a request that took too long for a server to wait for its end.
	codeSlow = "warmy_4xx_timeout"
	// codeUnbuilt is the code of a call that cannot be made as it is configured.
	codeUnbuilt = "warmy_misconfigured"

	codeUnauthorized = "warmy_401"
	codeForbidden    = "warmy_403"
	codeSignIn       = "warmy_sign_in"
	codeSessionEnded = "warmy_session_ended"

	codePlanLimit = "warmy_plan_limit"
	codeUntrusted = "warmy_listing_untrusted"
)
