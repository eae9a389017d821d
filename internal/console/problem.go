package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// Problem is an error as the API answers it (RFC 9457), with what the caller can do about it.
type Problem struct { //nolint:errname // the standard calls it a problem
	Type    string   `json:"type"` // always "about:blank"
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail"`
	Code    string   `json:"code"`
	Remedy  string   `json:"remedy,omitempty"`
	Request string   `json:"request,omitempty"` // ties the answer to the audit trail and the log
	Preview *Preview `json:"preview,omitempty"` // with confirm_needed and count_changed

	cause error
	after time.Duration // Retry-After
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns what went wrong inside, which is logged and never answered.
func (p *Problem) Unwrap() error { return p.cause }

func problem(status int, code, detail, remedy string) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail, Remedy: remedy,
	}
}

func (p *Problem) because(err error) *Problem {
	p.cause = err
	return p
}

func errCatchingUp() *Problem {
	p := problem(http.StatusServiceUnavailable, "catching_up", "the console is still reading the facts", "try again in a moment")
	p.after = time.Second
	return p
}

func errUnavailable(err error) *Problem {
	p := problem(http.StatusServiceUnavailable, "store_unavailable", "the store did not answer",
		"try again; if it lasts, look at the NATS server and its disk").because(err)
	p.after = 2 * time.Second
	return p
}

func errNotThere(what string) *Problem {
	return problem(http.StatusNotFound, "not_found", "there is no such "+what, "list them to see what there is")
}

func errBadRequest(code, detail, remedy string) *Problem {
	return problem(http.StatusBadRequest, code, detail, remedy)
}

// asProblem turns any error into a Problem; one that is not understood tells nothing of itself.
func asProblem(err error) *Problem {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, ErrNotFound):
		return errNotThere("dead letter")
	case errors.Is(err, context.DeadlineExceeded):
		return errUnavailable(err)
	}
	return problem(http.StatusInternalServerError, "internal", "something went wrong inside the console",
		"try again; the log tells more under this request's id").because(err)
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	data, err := json.Marshal(p)
	if err != nil {
		http.Error(w, p.Detail, p.Status)
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if p.after > 0 {
		w.Header().Set("Retry-After", fmt.Sprintf("%.0f", max(1, p.after.Seconds())))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(data, '\n')) // the caller has gone; there is nobody to tell
}

func writeJSON(w http.ResponseWriter, status int, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the caller has gone; there is nobody to tell
	return nil
}

const (
	maxBody  = 1 << 20 // bytes of a JSON body
	maxDepth = 8       // of its nesting
)

// readJSON reads a body strictly: only JSON, no unknown or repeated fields, nothing after it.
func readJSON(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "not_json", "the body is not declared as JSON", "send Content-Type: application/json")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return errBadRequest("unreadable_body", "the body could not be read to its end", "send it again").because(err)
	}
	if len(data) > maxBody {
		return problem(http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than 1 MiB", "send fewer ids at once")
	}
	if err := plainJSON(data); err != nil {
		return errBadRequest("bad_json", "the body is not what is expected: "+err.Error(), "compare it with /api/v1/openapi.yaml")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errBadRequest("bad_json", "the body has an unknown field or a value of the wrong type", "compare it with /api/v1/openapi.yaml").because(err)
	}
	return nil
}

// plainJSON refuses what encoding/json would silently accept or what is made to hurt.
func plainJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := plainValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

func plainValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	token, err := dec.Token()
	if err != nil {
		return errors.New("not JSON")
	}
	switch token {
	case json.Delim('{'):
		return plainObject(dec, depth)
	case json.Delim('['):
		for dec.More() {
			if err := plainValue(dec, depth+1); err != nil {
				return err
			}
		}
		return closing(dec)
	}
	return nil
}

func plainObject(dec *json.Decoder, depth int) error {
	seen := map[json.Token]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return errors.New("not JSON")
		}
		if seen[key] {
			return errors.New("a field stands there twice")
		}
		seen[key] = true
		if err := plainValue(dec, depth+1); err != nil {
			return err
		}
	}
	return closing(dec)
}

func closing(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return errors.New("not JSON")
	}
	return nil
}
