package app

import (
	"context"
	"fmt"

	"kindling/internal/bus"
	"kindling/internal/callback"
	"kindling/internal/config"
	"kindling/internal/events"
	"kindling/internal/microsoft"
	"kindling/internal/seal"
	"kindling/internal/secret"
)

// oneAtATime publishes single events: the shape that the edge asks for.
type oneAtATime struct{ bus *bus.Bus }

func (p oneAtATime) Publish(ctx context.Context, e events.Event) error { return p.bus.Publish(ctx, e) }

// Edge serves the consent pages and the OAuth callback, until ctx ends. It can seal codes, and open nothing that is in
// a work stream.
func Edge(ctx context.Context, h Host) error {
	codes, err := seal.OpenCodesPublic(h.Config.Keys.Dir)
	if err != nil {
		return fmt.Errorf("callback-ingest: %w", err)
	}
	cookies, err := seal.OpenCookies(h.Config.Keys.Dir)
	if err != nil {
		return fmt.Errorf("callback-ingest: %w", err)
	}
	people, err := seal.OpenPeople(h.Config.Keys.Dir)
	if err != nil {
		return fmt.Errorf("callback-ingest: %w", err)
	}
	apps, err := edgeApps(ctx, h.Config)
	if err != nil {
		return fmt.Errorf("callback-ingest: %w", err)
	}
	webhooks, err := webhookSecrets(h.Config)
	if err != nil {
		return fmt.Errorf("callback-ingest: %w", err)
	}
	b, err := h.connect(ctx, "callback-ingest")
	if err != nil {
		return err
	}
	defer b.Close()
	handler, err := callback.New(callback.Config{
		PublicURL: h.Config.Edge.PublicURL, Apps: apps, ResponseMode: h.Config.Edge.ResponseMode, Prompt: h.Config.Edge.StartPrompt,
		Invitations: b.Invitations(people), Claims: b.Claims(), Grants: b.Grants(nil), Registrations: b.Registrations(), AdminConsents: b.AdminConsents(),
		Publisher: oneAtATime{b}, Webhooks: webhooks, Hints: b.Hints(), Codes: codes, Cookies: cookies, ParseLink: seal.ParseLink, ParseAdminLink: seal.NewAdminLinks(people).Parse, Refusal: microsoft.Refusal,
		Observe: h.Metrics.edgeAnswered, Log: h.Log,
		PerSecond: h.Config.Edge.RequestsPerSecond, Burst: int(10 * h.Config.Edge.RequestsPerSecond),
	})
	if err != nil {
		return err
	}
	return h.serve(ctx, "callback-ingest", h.Config.Edge.Listen, handler)
}

// webhookSecrets reads what is secret in the addresses of the accounts' webhooks.
func webhookSecrets(cfg config.Config) (map[string]secret.Text, error) {
	secrets := map[string]secret.Text{}
	for _, a := range cfg.Accounts {
		if !a.WebhookSecret.Given() {
			continue
		}
		text, err := a.WebhookSecret.One()
		if err != nil {
			return nil, err
		}
		secrets[a.Name] = text
	}
	return secrets, nil
}

func edgeApps(ctx context.Context, cfg config.Config) (map[string]callback.App, error) {
	providers, err := discover(ctx, cfg)
	if err != nil {
		return nil, err
	}
	apps := make(map[string]callback.App, len(cfg.Apps))
	for _, a := range cfg.Apps {
		app, err := MicrosoftApp(a)
		if err != nil {
			return nil, err
		}
		app.OpenID = providers[a.Name]
		apps[a.Name] = edgeApp(app)
	}
	return apps, nil
}

func edgeApp(app microsoft.App) callback.App {
	known := callback.App{
		AuthorizeURL: func(p callback.AuthorizeParams) string { return app.AuthorizeURL(microsoft.AuthorizeParams(p)) },
		Tenant:       app.Tenant, RedirectURI: app.RedirectURI, LoginOrigin: app.LoginOrigin(), Scopes: app.Scopes,
	}
	if app.OpenID != nil {
		known.Issuer = app.OpenID.Issuer
		return known
	}
	known.AdminConsentURL = func(tenant string, state secret.Text) string {
		return app.AdminConsentURL(tenant, app.RedirectURI, state)
	}
	return known
}

func (m *Metrics) edgeAnswered(_ context.Context, route, outcome string) {
	m.edge.WithLabelValues(route, outcome).Inc()
}
