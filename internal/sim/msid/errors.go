package msid

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"kindling/internal/sim/trouble"
)

// aadsts is one row of Microsoft's error table.
type aadsts struct {
	Code     int
	Status   int
	Error    string
	Suberror string
	Text     string
}

// failure is the JSON error body of the token endpoint.
type failure struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
	Suberror      string `json:"suberror,omitempty"`
}

// reply builds the answer of the token endpoint.
func (e aadsts) reply(now time.Time) trouble.Reply {
	trace, correlation, stamp := guid(rand.Text()), guid(rand.Text()), now.UTC().Format("2006-01-02 15:04:05Z")
	return trouble.JSON(e.Status, failure{
		Error: e.Error, Suberror: e.Suberror, Codes: []int{e.Code},
		Description: fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", e.describe(), trace, correlation, stamp),
		Timestamp:   stamp, TraceID: trace, CorrelationID: correlation, URI: e.uri(),
	})
}

func (e aadsts) describe() string { return fmt.Sprintf("AADSTS%d: %s", e.Code, e.Text) }

func (e aadsts) uri() string {
	return fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", e.Code)
}

func (e aadsts) outcome() string { return fmt.Sprintf("AADSTS%d", e.Code) }

// refusal returns the row of a number; an unlisted one is an invalid_grant, as
// a number that Microsoft has just invented would most likely be.
func refusal(number int) aadsts {
	for _, row := range aadstsTable() {
		if row.Code == number {
			if row.Status == 0 {
				row.Status = http.StatusBadRequest
			}
			return row
		}
	}
	return aadsts{Code: number, Status: http.StatusBadRequest, Error: grantError, Text: "The request failed for a reason the simulator has no text for."}
}

// Codes returns every AADSTS number that the simulator has a row for.
func Codes() []int {
	rows := aadstsTable()
	out := make([]int, len(rows))
	for i, row := range rows {
		out[i] = row.Code
	}
	return out
}

// The error words of RFC 6749 § 5.2, § 4.1.2.1 and of OpenID Connect.
const (
	grantError       = "invalid_grant"
	clientError      = "invalid_client"
	requestError     = "invalid_request"
	scopeError       = "invalid_scope"
	resourceError    = "invalid_resource"
	unauthorized     = "unauthorized_client"
	interactionError = "interaction_required"
	consentError     = "consent_required"
	loginError       = "login_required"
	deniedError      = "access_denied"
	unavailableError = "temporarily_unavailable"
	serverError      = "server_error"
)
