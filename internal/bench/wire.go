package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// question is one HTTP request that is answered with JSON.
type question struct {
	method, address string
	header          http.Header
	body            []byte
}

// jsonTo is a question with in as its JSON; nil: without a body.
func jsonTo(method, address string, in any) (question, error) {
	q := question{method: method, address: address, header: http.Header{"Content-Type": {"application/json"}}}
	if in == nil {
		return q, nil
	}
	var err error
	if q.body, err = json.Marshal(in); err != nil {
		return q, fmt.Errorf("encode the request: %w", err)
	}
	return q, nil
}

// ask sends q, and decodes the answer into out unless that is nil. The answer is read to its end, so that the connection
// serves again. Any status but a 2xx is an error.
func (q question) ask(ctx context.Context, client *http.Client, out any) error {
	req, err := http.NewRequestWithContext(ctx, q.method, q.address, bytes.NewReader(q.body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	if q.header != nil {
		req.Header = q.header
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", req.URL.Path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", req.URL.Path, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s answers %d", req.URL.Path, resp.StatusCode)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", req.URL.Path, err)
	}
	return nil
}

// askJSON asks with in as JSON, or without a body when in is nil.
func askJSON(ctx context.Context, client *http.Client, method, address string, in, out any) error {
	q, err := jsonTo(method, address, in)
	if err != nil {
		return err
	}
	return q.ask(ctx, client, out)
}
