package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"kindling/internal/console"
	"kindling/internal/events"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
	"kindling/internal/service"
)

// api is the demo's operator: it knows no way into Kindling but the console's API.
type api struct {
	base   string
	token  secret.Text
	client *http.Client
}

func newAPI(base string, token secret.Text) *api {
	return &api{base: base, token: token, client: &http.Client{Timeout: 2 * time.Minute}}
}

// do makes one call and decodes the answer into out, if out is not nil.
func (a *api) do(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.base+"/api/v1"+path, body)
	if err != nil {
		return fmt.Errorf("ask the console: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the console: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		var problem console.Problem
		_ = json.NewDecoder(resp.Body).Decode(&problem) // without details the status says enough
		code := service.ExitFailed
		if resp.StatusCode == http.StatusUnprocessableEntity {
			code = service.ExitData
		}
		return service.WithExit(code, fmt.Errorf("%s (%s)", problem.Detail, problem.Remedy))
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *bytes.Buffer:
		_, err := out.ReadFrom(resp.Body)
		return err
	}
	reflect.ValueOf(out).Elem().SetZero() // an answer leaves out what is empty: nothing of an earlier one may stay
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the console's answer to %s: %w", path, err)
	}
	return nil
}

func (a *api) importCSV(ctx context.Context, name string, csv []byte) (console.ImportReport, error) {
	var report console.ImportReport
	err := a.do(ctx, http.MethodPost, "/campaigns?name="+url.QueryEscape(name), "text/csv", bytes.NewReader(csv), &report)
	return report, err
}

func (a *api) campaign(ctx context.Context, id string) (console.CampaignView, error) {
	var view console.CampaignView
	err := a.do(ctx, http.MethodGet, "/campaigns/"+id, "", nil, &view)
	return view, err
}

// mailboxes returns every mailbox of a campaign.
func (a *api) mailboxes(ctx context.Context, campaign string) ([]console.MailboxView, error) {
	var all []console.MailboxView
	for cursor := ""; ; {
		var page console.MailboxList
		query := url.Values{"campaign": {campaign}, "limit": {"200"}, "cursor": {cursor}}
		if cursor == "" {
			query.Del("cursor")
		}
		if err := a.do(ctx, http.MethodGet, "/mailboxes?"+query.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Mailboxes...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// links returns the consent links of a campaign.
func (a *api) links(ctx context.Context, campaign string) ([]console.LinkView, error) {
	var body bytes.Buffer
	if err := a.do(ctx, http.MethodGet, "/campaigns/"+campaign+"/links?format=jsonl", "", nil, &body); err != nil {
		return nil, err
	}
	var links []console.LinkView
	for dec := json.NewDecoder(&body); ; {
		var l console.LinkView
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			return links, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the links: %w", err)
		}
		links = append(links, l)
	}
}

// replay replays what time or a setting can fix in a campaign, and returns when all of it is on its way.
func (a *api) replay(ctx context.Context, campaign, reason string) (int, error) {
	bulk := console.Bulk{
		Selection: console.Selection{Campaigns: []string{campaign}}, BulkOptions: console.BulkOptions{Reason: reason, DryRun: true},
	}
	var preview console.Preview
	if err := a.post(ctx, "/dead/replay", bulk, &preview); err != nil {
		return 0, err
	}
	if preview.Count == 0 {
		return 0, nil
	}
	bulk.DryRun, bulk.Confirm = false, &preview.Count
	var job console.Job
	if err := a.post(ctx, "/dead/replay", bulk, &job); err != nil {
		return 0, err
	}
	return job.Total, service.Poll(ctx, func() error {
		if err := a.do(ctx, http.MethodGet, "/replays/"+job.ID, "", nil, &job); err != nil {
			return err
		}
		if !job.Ended() {
			return errors.New("the replay is not done")
		}
		return nil
	})
}

func (a *api) post(ctx context.Context, path string, body, out any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode question to the console: %w", err)
	}
	return a.do(ctx, http.MethodPost, path, "application/json", bytes.NewReader(data), out)
}

// movedSince is an error while a mailbox that a replay can help still is where it was before.
func (a *api) movedSince(ctx context.Context, campaign string, before time.Time) error {
	view, err := a.campaign(ctx, campaign)
	if err != nil {
		return err
	}
	mailboxes, err := a.mailboxes(ctx, campaign)
	if err != nil {
		return err
	}
	for _, m := range mailboxes {
		if m.State == mailbox.StateDead && m.Stage != string(events.Code) && m.Since.Before(before) {
			return errors.New("a replayed mailbox has not moved yet")
		}
	}
	if !settled(view) {
		return errors.New("the campaign has not settled")
	}
	return nil
}
