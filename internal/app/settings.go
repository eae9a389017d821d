package app

import (
	"fmt"

	"kindling/internal/config"
	"kindling/internal/microsoft"
	"kindling/internal/warmy"
)

// Policy says how patient the workers are; it is the configuration's.
type Policy = config.Policy

func policyOf(cfg config.Config) Policy { return cfg.Policy }

// microsoftApps are the apps with what proves them: for the processes that may hold it.
func microsoftApps(cfg config.Config, proofs map[string]proof) ([]microsoft.App, error) {
	apps := make([]microsoft.App, 0, len(cfg.Apps))
	for _, a := range cfg.Apps {
		app, err := microsoftApp(a)
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

// microsoftApp is an app without its client secrets: all that the edge may know.
func microsoftApp(a config.App) (microsoft.App, error) {
	login, graph := a.Authority, a.GraphURL
	if login == "" || graph == "" {
		cloudLogin, cloudGraph, err := microsoft.Cloud(a.Cloud)
		if err != nil {
			return microsoft.App{}, fmt.Errorf("app %s: %w", a.Name, err)
		}
		login, graph = orElse(login, cloudLogin), orElse(graph, cloudGraph)
	}
	return microsoft.App{
		Name: a.Name, Cloud: a.Cloud, Tenant: a.Tenant, ClientID: a.ClientID, RedirectURI: a.RedirectURI, Scopes: a.Scopes,
		LoginURL: login, GraphURL: graph,
	}, nil
}

func orElse(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
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
