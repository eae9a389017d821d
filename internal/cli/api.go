package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"kindling/internal/console"
	"kindling/internal/secret"
	"kindling/internal/service"
)

// API is a typed client of the console.
type API struct {
	base   string
	token  secret.Text
	client *http.Client
}

const (
	dialTime   = 2 * time.Second
	answerTime = 60 * time.Second // to the first byte of an answer; an import that large takes part of it
	maxAnswer  = 64 << 20         // bytes of a JSON answer
)

// NewAPI returns a client of the console at base for the operator with this token. It follows no redirect, so that the
// token goes nowhere else.
func NewAPI(base string, token secret.Text) (*API, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, usage(errors.New("the server is not an http or https address, such as " + defaultServer))
	}
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: 5 * time.Second}
	return &API{
		base: strings.TrimRight(base, "/"), token: token,
		client: &http.Client{
			Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// problemError is a refusal of the console.
type problemError struct{ console.Problem }

func (e *problemError) Error() string {
	if e.Remedy == "" {
		return e.Detail
	}
	return e.Detail + " (" + e.Remedy + ")"
}

// ExitCode maps the refusal to what scripts look at.
func (e *problemError) ExitCode() int {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return service.ExitPermission
	case http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return service.ExitData
	case http.StatusBadRequest:
		return service.ExitUsage
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return service.ExitUnavailable
	}
	return service.ExitFailed
}

// send makes one request and returns its answer, which the caller must close, or the refusal.
func (a *API) send(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+"/api/v1"+path, body)
	if err != nil {
		return nil, usage(err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	resp, err := a.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, service.WithExit(service.ExitUnavailable, fmt.Errorf("the console at %s does not answer; is it running, and is --server right? (%w)", a.base, reason(err)))
	}
	if resp.StatusCode < http.StatusBadRequest && resp.StatusCode != http.StatusSeeOther {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, refusal(resp)
}

// reason leaves the address out of a transport's error, which is told already.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func refusal(resp *http.Response) error {
	p := &problemError{}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || resp.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(data, &p.Problem) != nil {
		p.Status, p.Detail = resp.StatusCode, fmt.Sprintf("the server answered %d, which is not what a console says", resp.StatusCode)
	}
	p.Status = resp.StatusCode
	return p
}

// call makes a request with a JSON body (nil: none) and decodes the answer.
func call[T any](ctx context.Context, a *API, method, path string, body any) (T, error) {
	var answer T
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var sent io.Reader
	header := http.Header{}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer, fmt.Errorf("encode request: %w", err)
		}
		sent = bytes.NewReader(data)
		header.Set("Content-Type", "application/json")
	}
	resp, err := a.send(ctx, method, path, sent, header)
	if err != nil {
		return answer, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, service.WithExit(service.ExitUnavailable, errors.New("the server's answer is not what a console says"))
	}
	return answer, nil
}

func get[T any](ctx context.Context, a *API, path string, query url.Values) (T, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return call[T](ctx, a, http.MethodGet, path, nil)
}

func post[T any](ctx context.Context, a *API, path string, body any) (T, error) {
	return call[T](ctx, a, http.MethodPost, path, body)
}

// Import sends a campaign's file. With results, what became of each row is written there as CSV, and the report lacks
// its list of problems.
func (a *API) Import(ctx context.Context, query url.Values, file io.Reader, results io.Writer) (console.ImportReport, error) {
	var report console.ImportReport
	header := http.Header{"Content-Type": {"text/csv"}}
	if results != nil {
		header.Set("Accept", "text/csv")
	}
	resp, err := a.send(ctx, http.MethodPost, "/campaigns?"+query.Encode(), file, header)
	if err != nil {
		return report, err
	}
	defer func() { _ = resp.Body.Close() }()
	if results == nil {
		err = json.NewDecoder(resp.Body).Decode(&report)
	} else {
		err = json.Unmarshal([]byte(resp.Header.Get(console.ReportHeader)), &report)
		_, copyErr := io.Copy(results, resp.Body)
		err = errors.Join(err, copyErr)
	}
	if err != nil {
		return report, fmt.Errorf("read the report: %w", err)
	}
	return report, nil
}

// Download writes the answer to a GET to w.
func (a *API) Download(ctx context.Context, path string, query url.Values, w io.Writer) error {
	resp, err := a.send(ctx, http.MethodGet, path+"?"+query.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// api opens the console with the operator's token.
func (s *shell) api() (*API, error) {
	server := cmp.Or(s.server, s.env.Getenv(EnvServer), defaultServer)
	path := cmp.Or(s.tokenFile, s.env.Getenv(EnvTokenFile), defaultTokenFile)
	data, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, service.WithExit(service.ExitPermission, fmt.Errorf("your token cannot be read: %w (name its file with --token-file; an admin makes one with 'kindling operator add')", err))
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, " \n\r\t") {
		return nil, service.WithExit(service.ExitPermission, fmt.Errorf("%s does not hold one token", path))
	}
	return NewAPI(server, secret.New(token))
}
