package app

import (
	"kindling/internal/config"
	"kindling/internal/microsoft"
	"kindling/internal/warmy"
)

// MicrosoftApp is an app as the processes see it, without its client secrets.
func MicrosoftApp(a config.App) (microsoft.App, error) { return microsoftApp(a) }

// WarmyAccount is an account as warmy-worker sees it, with its credentials.
func WarmyAccount(a config.Account) (warmy.Account, error) {
	accounts, err := warmyAccounts(config.Config{Accounts: []config.Account{a}})
	if err != nil {
		return warmy.Account{}, err
	}
	return accounts[0], nil
}
