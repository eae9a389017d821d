package bus_test

import (
	"sync/atomic"
	"testing"
	"time"

	"kindling/internal/bus"
	"kindling/internal/bus/bustest"
)

// A holder whose clock is set, or has been wrong all along, renews in time, and nobody else is let in.
func TestALeaseIsKeptByAProcessWhoseClockIsSet(t *testing.T) { //nolint:paralleltest // bubbles
	for name, set := range map[string]time.Duration{"back": -10 * time.Minute, "ahead": 10 * time.Minute, "back a little": -15 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
				s := bustest.Server(t)
				var off atomic.Int64
				holder := bus.NewLease(bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(time.Duration(off.Load())) }), "w1", 20*time.Second)
				other := bus.NewLease(bustest.ConnectAt(t, s, func() time.Time { return time.Now().Add(-time.Hour) }), "w2", 20*time.Second)
				if wait, err := holder.Take(t.Context()); err != nil || wait != 0 {
					t.Fatalf("told to wait for %v, %v", wait, err)
				}
				for i := range 24 {
					if i == 1 {
						off.Store(int64(set))
					}
					time.Sleep(5 * time.Second)
					if err := holder.Keep(t.Context()); err != nil {
						t.Fatalf("after %d looks: %v", i, err)
					}
					if wait, err := other.Take(t.Context()); err != nil || wait == 0 {
						t.Fatalf("after %d looks another process was let in (%v)", i, err)
					}
				}
				time.Sleep(25 * time.Second)
				if wait, err := other.Take(t.Context()); err != nil || wait != 0 {
					t.Errorf("a lease that nobody keeps stops others for %v more (%v)", wait, err)
				}
				if err := holder.Keep(t.Context()); err == nil {
					t.Error("a lease is kept that another process has")
				}
			})
		})
	}
}

// The write that took the lease was stored, and its answer was lost.
func TestAProcessDoesNotWaitForItsOwnLease(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for _, try := range []struct {
		owner string
		waits bool
	}{{"w1", false}, {"w1", false}, {"w2", true}} {
		wait, err := bus.NewLease(b, try.owner, time.Minute).Take(t.Context())
		if err != nil || wait > 0 != try.waits {
			t.Errorf("%s is told to wait for %v, %v", try.owner, wait, err)
		}
	}
}

// A holder dies, and the server's clock is set back: nobody may wait until the old time has come again.
func TestAClockThatIsSetBackProlongsNoDeadProcessesLease(t *testing.T) { //nolint:paralleltest // a bubble
	bustest.Bubble(t, func(t *testing.T) { //nolint:thelper // the test itself
		s := bustest.Server(t)
		dead, next := bustest.Connect(t, s), bustest.Connect(t, s)
		off := setBack(5 * time.Second)
		for _, b := range []*bus.Bus{dead, next} {
			if err := bus.SetServerClock(t.Context(), b, off); err != nil {
				t.Fatal(err)
			}
		}
		const life = 20 * time.Second
		if wait, err := bus.NewLease(dead, "w1", life).Take(t.Context()); err != nil || wait != 0 {
			t.Fatalf("told to wait for %v, %v", wait, err)
		}
		if wait, err := bus.NewLease(next, "w2", life).Take(t.Context()); err != nil || wait <= 0 || wait > life+time.Second {
			t.Fatalf("the next one is told to wait for %v, %v", wait, err)
		}
		time.Sleep(30 * time.Second) // by then everybody has looked at the server's clock
		if wait, err := bus.NewLease(next, "w2", life).Take(t.Context()); err != nil || wait != 0 {
			t.Errorf("told to wait for %v more, %v", wait, err)
		}
	})
}
