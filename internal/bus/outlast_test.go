package bus

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestAStartOutlastsAStoreThatDoesNotAnswerAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err   error
		asked int // times, of a store that answers the fourth
	}{
		"silence":          {context.DeadlineExceeded, 4},
		"nobody there":     {nats.ErrNoResponders, 4},
		"no leader":        {&jetstream.APIError{Code: 503, ErrorCode: 10008}, 4},
		"on the way":       {nats.ErrDisconnected, 4},
		"another setting":  {&jetstream.APIError{Code: 400, ErrorCode: 10012}, 1},
		"denied":           {&DeniedError{}, 1},
		"whatever else":    {errors.New("x"), 1},
		"none of the kind": {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				err := outlast(t.Context(), func(context.Context) error {
					if asked++; asked == 4 {
						return nil
					}
					return test.err
				})
				if asked != test.asked || (err == nil) != (test.asked == 4 || test.err == nil) {
					t.Errorf("asked %d times, %v", asked, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := outlast(t.Context(), func(context.Context) error { return context.DeadlineExceeded })
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != startPatience {
			t.Errorf("%v after %v", err, took)
		}
	})
}
