package service

import (
	"context"
	"errors"
	"time"
)

// pollEvery is short for a person and long for a process that is starting.
const pollEvery = 50 * time.Millisecond

// Poll asks until ask returns nil, or ctx ends; then the error holds ask's last one too. It is for what cannot tell us
// when it is ready, such as another process.
func Poll(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}
