package app

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/microsoft"
	"kindling/internal/warmy"
)

// DefaultWorkPolicy is the bus's policy for events without a deadline, with the default settings.
func DefaultWorkPolicy() (bus.Policy, error) {
	p, err := config.DefaultPolicy()
	return workPolicy(p), err
}

// discover asks the providers that stand in for Microsoft where their endpoints are. It is done at the start: a link
// that leads nowhere is worse than a process that says why it does not start.
func discover(ctx context.Context, cfg config.Config) (map[string]*microsoft.Provider, error) {
	found := make(map[string]*microsoft.Provider)
	for _, a := range cfg.Apps {
		if a.Issuer == "" {
			continue
		}
		provider, err := microsoft.Await(ctx, a.Issuer)
		if err != nil {
			return nil, fmt.Errorf("apps.%s.issuer: %w (look whether %s/.well-known/openid-configuration answers from here, with this very issuer in it)",
				a.Name, err, strings.TrimSuffix(a.Issuer, "/"))
		}
		found[a.Name] = provider
	}
	return found, nil
}

// standIns discovers the providers of the apps that have one.
func standIns(ctx context.Context, cfg config.Config, apps []microsoft.App) error {
	found, err := discover(ctx, cfg)
	for i := range apps {
		apps[i].OpenID = found[apps[i].Name]
	}
	return err
}

// microsoftApps are the apps with what proves them: for the processes that may hold it.
func microsoftApps(cfg config.Config, proofs map[string]proof) ([]microsoft.App, error) {
	apps := make([]microsoft.App, 0, len(cfg.Apps))
	for _, a := range cfg.Apps {
		app, err := MicrosoftApp(a)
		if err != nil {
			return nil, err
		}
		c, err := proofs[a.Name].credentials()
		if err != nil {
			return nil, fmt.Errorf("credentials of app %s: %w", a.Name, err)
		}
		app.Secrets, app.Certificate = c.Secrets, c.Certificate
		apps = append(apps, app)
	}
	return apps, nil
}

// MicrosoftApp is an app as the processes see it, without its client secrets: all that the edge may know.
func MicrosoftApp(a config.App) (microsoft.App, error) {
	login, graph := a.Authority, a.GraphURL
	if login == "" || graph == "" {
		cloudLogin, cloudGraph, err := microsoft.Cloud(a.Cloud)
		if err != nil {
			return microsoft.App{}, fmt.Errorf("app %s: %w", a.Name, err)
		}
		login, graph = cmp.Or(login, cloudLogin), cmp.Or(graph, cloudGraph)
	}
	return microsoft.App{
		Name: a.Name, Cloud: a.Cloud, Tenant: a.Tenant, ClientID: a.ClientID, RedirectURI: a.RedirectURI, Scopes: a.Scopes,
		LoginURL: login, GraphURL: graph,
	}, nil
}

func warmyAccounts(cfg config.Config) ([]warmy.Account, error) {
	accounts := make([]warmy.Account, 0, len(cfg.Accounts))
	for _, a := range cfg.Accounts {
		account, err := WarmyAccount(a)
		if err != nil {
			return nil, fmt.Errorf("credentials of account %s: %w", a.Name, err)
		}
		accounts = append(accounts, account)
	}
	return accounts, nil
}

func appNames(cfg config.Config) []string {
	names := make([]string, len(cfg.Apps))
	for i, a := range cfg.Apps {
		names[i] = a.Name
	}
	return names
}

func appTenants(cfg config.Config) map[string]string {
	tenants := make(map[string]string, len(cfg.Apps))
	for _, a := range cfg.Apps {
		tenants[a.Name] = a.Tenant
	}
	return tenants
}

func accountNames(cfg config.Config) []string {
	names := make([]string, len(cfg.Accounts))
	for i, a := range cfg.Accounts {
		names[i] = a.Name
	}
	return names
}
