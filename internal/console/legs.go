package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"kindling/internal/leg"
)

// LegList answers GET /legs.
type LegList struct {
	At   time.Time `json:"at"` // by the clock that their times go by
	Legs []leg.Leg `json:"legs"`
}

// LegChange is the body of POST /legs/hold and /legs/release.
type LegChange struct {
	Name  string `json:"name"`
	Cause string `json:"cause,omitempty"` // with hold: why, shown to everybody
}

func (c *Console) getLegs(r *request) error {
	legs, err := c.legs(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, LegList{At: c.seen(legs), Legs: legs})
}

// legs are the legs with what waits on them: the one place where it is estimated when that will be done.
func (c *Console) legs(ctx context.Context) ([]leg.Leg, error) {
	legs, err := c.cfg.Legs.List(ctx)
	if err != nil {
		return nil, errUnavailable(err)
	}
	all, loaded := ways(c.roster.Ways("")), make([]leg.Leg, len(legs))
	for i, l := range legs {
		loaded[i] = c.loaded(l, all)
	}
	return loaded, nil
}

func (c *Console) postHold(r *request) error { return c.postLeg(r, c.hold) }

func (c *Console) postRelease(r *request) error { return c.postLeg(r, c.release) }

func (c *Console) postLeg(r *request, change func(*request, LegChange) error) error {
	var body LegChange
	if err := readJSON(r.Request, &body); err != nil {
		return err
	}
	if err := change(r, body); err != nil {
		return err
	}
	return c.getLegs(r)
}

func (c *Console) hold(r *request, body LegChange) error {
	cause := cmp.Or(body.Cause, "held by an operator")
	return c.changeLeg(r, deed{action: "leg.hold", target: body.Name, count: 1, reason: cause, field: "cause"}, func(ctx context.Context) error {
		return c.cfg.Legs.Hold(ctx, body.Name, cause, r.actor.name)
	})
}

func (c *Console) release(r *request, body LegChange) error {
	return c.changeLeg(r, deed{action: "leg.release", target: body.Name, count: 1, reason: body.Cause, field: "cause"}, func(ctx context.Context) error {
		return c.cfg.Legs.Release(ctx, body.Name, r.actor.name)
	})
}

func (c *Console) changeLeg(r *request, d deed, change func(context.Context) error) error {
	legs, err := c.legs(r.Context())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(legs, func(l leg.Leg) bool { return l.Name == d.target }) {
		return errNotThere("leg")
	}
	return c.audited(r.Context(), r, d, func(ctx context.Context) error {
		if err := change(ctx); err != nil {
			return errUnavailable(err)
		}
		return nil
	})
}
