package app

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/config"
	"kindling/internal/microsoft"
	"kindling/internal/seal"
)

// workerKeys are what both workers may hold and no other process: the grants keyset and the apps with what their role proves
// them with.
type workerKeys struct {
	grants *seal.Box
	people *seal.Box
	apps   []microsoft.App
	proofs map[string]proof // by app
}

func openWorkerKeys(cfg config.Config, role config.Role) (k workerKeys, err error) {
	if k.grants, err = seal.OpenGrants(cfg.Keys.Dir); err != nil {
		return workerKeys{}, err
	}
	if k.people, err = seal.OpenPeople(cfg.Keys.Dir); err != nil {
		return workerKeys{}, err
	}
	if k.proofs, err = proofsOf(cfg, role); err != nil {
		return workerKeys{}, err
	}
	k.apps, err = microsoftApps(cfg, k.proofs)
	return k, err
}

// factsStill is how long a mailbox's facts must have rested before its event is looked for: longer than any event is on
// its way between two streams, and than a stream recognises the ids of what it has seen.
const factsStill = 15 * time.Minute

// together runs the parts of one process until ctx ends or one of them fails.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		group.Go(func() error { return part(ctx) })
	}
	return group.Wait()
}
