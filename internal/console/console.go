package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/sync/errgroup"

	"kindling/internal/console/roster"
)

// Console serves operators. It is safe for concurrent use. Any number of consoles may run; a browser session and a
// running job belong to the one that started them.
type Console struct {
	cfg       Config
	roster    *roster.Roster
	operators *register
	sessions  *sessions
	guard     *guard
	jobs      *jobs
	glances   glances
	dead      *deadCounts
	pages     *pages
	routes    []route
}

// New checks cfg and returns a Console that knows nothing until Run follows the facts.
func New(cfg Config) (*Console, error) {
	if err := cfg.missing(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.PublicURL = strings.TrimRight(cfg.PublicURL, "/")
	if u, err := url.Parse(cfg.PublicURL); err != nil || u.Host == "" {
		return nil, fmt.Errorf("console: the edge's public URL is not an address with a host")
	}
	p, err := newPages(cfg.Now, cfg.expiring)
	if err != nil {
		return nil, err
	}
	c := &Console{
		cfg: cfg, roster: roster.New(cfg.Now, cfg.AppTenants), operators: newRegister(cfg.OperatorsFile, cfg.Now),
		sessions: newSessions(cfg.Now), guard: newGuard(cfg.Now), jobs: newJobs(), pages: p,
		glances: glances{known: map[string]glance{}},
	}
	c.dead = newDeadCounts(cfg.DeadLetters, cfg.Now)
	c.routes = append(c.apiRoutes(), c.pageRoutes()...)
	return c, nil
}

// Run follows the facts and does the operators' jobs until ctx ends. It returns the error of following, or nil.
// Jobs that run when ctx ends stop after their current step; replaying the same selection again resumes them.
func (c *Console) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := c.cfg.Facts.Follow(ctx, c.roster); err != nil && ctx.Err() == nil {
			return fmt.Errorf("follow facts: %w", err)
		}
		return nil
	})
	group.Go(func() error { return c.runJobs(ctx) })
	return group.Wait()
}

// Ready reports whether all facts were read; until then the API answers 503.
func (c *Console) Ready(context.Context) error {
	if !c.roster.Ready() {
		return errCatchingUp()
	}
	return nil
}

// Handler returns the pages and the API.
func (c *Console) Handler() http.Handler {
	return secured(http.NewCrossOriginProtection().Handler(c.mux()))
}
