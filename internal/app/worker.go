package app

import (
	"kindling/internal/config"
	"kindling/internal/microsoft"
	"kindling/internal/seal"
)

// workerKeys are what both workers may hold and no other process: the grants keyset and the apps with their secrets.
type workerKeys struct {
	grants *seal.Box
	people *seal.Box
	apps   []microsoft.App
}

func openWorkerKeys(cfg config.Config) (k workerKeys, err error) {
	if k.grants, err = seal.OpenGrants(cfg.Keys.Dir); err != nil {
		return workerKeys{}, err
	}
	if k.people, err = seal.OpenPeople(cfg.Keys.Dir); err != nil {
		return workerKeys{}, err
	}
	k.apps, err = microsoftApps(cfg)
	return k, err
}
