package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// fairFigures measure what a small campaign loses to a big one of the same account.
func fairFigures(ctx context.Context, p warmyPlan) (figures []figure, err error) {
	alone, err := smallCampaign(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	beside, err := smallCampaign(ctx, p, 9*p.share)
	if err != nil {
		return nil, err
	}
	ratio := percentile(beside, 0.95).Seconds() / percentile(alone, 0.95).Seconds()
	return []figure{atMost(figure{
		name:    fmt.Sprintf("warmy, a campaign of %d beside one of %d on one account, %d calls a minute, 2 workers: its p95", p.share, 9*p.share, otherBudget),
		value:   fmt.Sprintf("%.2f × (%s)", ratio, spread(beside)),
		against: "alone " + spread(alone),
	}, ratio, 2, "%.0f")}, nil
}

// smallCampaign returns how long after their consent the mailboxes of the small campaign were created, sorted.
func smallCampaign(ctx context.Context, p warmyPlan, big int) (took []time.Duration, err error) {
	r, err := newWarmyRig(ctx, otherBudget)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	small, err := r.seed(ctx, "small", p.share)
	if err != nil {
		return nil, err
	}
	others, err := r.seed(ctx, "large", big)
	if err != nil {
		return nil, err
	}
	if err := r.publish(ctx, others); err != nil {
		return nil, err
	}
	if err := r.work(ctx, 2, wrongTime{}); err != nil {
		return nil, err
	}
	if big > 0 {
		if _, _, err := r.next(ctx, 0); err != nil {
			return nil, err
		}
	}
	pause(ctx, 2*startTime)
	began := time.Now()
	if err := r.publish(ctx, small); err != nil {
		return nil, err
	}
	return r.created(ctx, "small-", p.share, began)
}

// created waits until n mailboxes whose address begins with prefix exist.
func (r *warmyRig) created(ctx context.Context, prefix string, n int, began time.Time) ([]time.Duration, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	for {
		l, err := r.ledger(ctx, "?mailboxes=all")
		if err != nil {
			return nil, err
		}
		var took []time.Duration
		for _, m := range l.Mailboxes {
			if strings.HasPrefix(m.Email, prefix) {
				took = append(took, m.CreatedAt.Sub(began))
			}
		}
		if len(took) >= n {
			slices.Sort(took)
			return took, nil
		}
		if pause(ctx, 500*time.Millisecond); ctx.Err() != nil {
			return nil, fmt.Errorf("%d of %d mailboxes were created: %w", len(took), n, context.Cause(ctx))
		}
	}
}
