package app

import (
	"kindling/internal/config"
	"kindling/internal/secret"
	"kindling/internal/warmy"
)

// WarmyAccount is an account as warmy-worker sees it, with its credentials.
func WarmyAccount(a config.Account) (warmy.Account, error) {
	account := warmy.Account{
		Name: a.Name, BaseURL: a.BaseURL, Auth: warmy.Auth(a.Auth), HolderUID: a.HolderUID, CallsPerMinute: a.CallsPerMinute,
		UID: secret.New(a.UID), Client: secret.New(a.Client), Email: secret.New(a.Email),
	}
	var err error
	if a.Auth != config.AuthSession {
		account.APIKey, err = a.APIKey.One()
		return account, err
	}
	begin, err := readLogin(a)
	account.AccessToken, account.Password = begin.token, begin.password
	return account, err
}
