package service

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPollAsksUntilItHears(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		err := Poll(t.Context(), func() error {
			if asked++; asked < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if err != nil || asked != 3 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
}

func TestPollEndsWithItsContextAndTellsWhatItHeardLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		last := errors.New("not yet")
		if err := Poll(ctx, func() error { return last }); !errors.Is(err, last) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
