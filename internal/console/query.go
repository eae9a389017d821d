package console

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"kindling/internal/mailbox"
)

// query is a request's query of which every parameter is known. A list may be repeated or comma-separated.
type query url.Values

// readQuery refuses parameters that are not known, so that a mistyped filter never means "all".
func readQuery(r *request, known ...string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errBadRequest("bad_query", "the query cannot be read", "escape its values").because(err)
	}
	for key := range values {
		if !slices.Contains(known, key) {
			return nil, errBadRequest("bad_parameter", "the query has an unknown parameter", "known are: "+strings.Join(known, ", "))
		}
	}
	return query(values), nil
}

func (q query) one(key, otherwise string) string {
	return cmp.Or(url.Values(q).Get(key), otherwise)
}

func (q query) list(key string) []string {
	var all []string
	for _, value := range q[key] {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

func (q query) states(key string) ([]mailbox.State, error) {
	var states []mailbox.State
	for _, name := range q.list(key) {
		state := mailbox.State(name)
		if !slices.Contains(mailbox.States(), state) {
			return nil, errBadRequest("bad_parameter", "the state is unknown", oneOf(mailbox.States()))
		}
		states = append(states, state)
	}
	return states, nil
}

const (
	defaultLimit = 50
	maxLimit     = 200
)

func (q query) limit() (int, error) {
	n, err := strconv.Atoi(q.one("limit", strconv.Itoa(defaultLimit)))
	if err != nil || n < 1 || n > maxLimit {
		return 0, errBadRequest("bad_parameter", "the limit is not a number from 1 to 200", "use one in that range")
	}
	return n, nil
}

func (q query) number(key string) (uint64, error) {
	n, err := strconv.ParseUint(q.one(key, "0"), 10, 64)
	if err != nil {
		return 0, errBadRequest("bad_parameter", "the "+key+" is not a number", "leave it out, or use what the last answer gave")
	}
	return n, nil
}

func (q query) time(key string) (time.Time, error) {
	text := q.one(key, "")
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errBadRequest("bad_parameter", "the "+key+" is not a time", "write it as 2006-01-02T15:04:05Z")
	}
	return at, nil
}
