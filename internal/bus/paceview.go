package bus

import (
	"context"
	"time"
)

// AccountPace is the call budget of an account at one moment. Its times are the server's. It is zero, but for Now, when
// nobody has ever called.
type AccountPace struct {
	Now       time.Time
	End       time.Time // until when the budget is given out: what lies long behind says that it is idle
	Until     time.Time // nobody calls before: a 429 said so; zero: none did, or the wait is over
	PerMinute float64   // calls that the whole fleet may make
	Part      float64   // that this is of what is configured, 0 to 1; 0: nobody has ever called
}

// PaceOf returns the pace of an account as its next call will find it: what was reduced has risen since the last one.
func (b *Bus) PaceOf(ctx context.Context, account string) (AccountPace, error) {
	if err := b.lookAtClock(ctx); err != nil {
		return AccountPace{}, err
	}
	now := b.clock.now().UTC()
	data, _, err := kv{b, bucketControl}.get(ctx, accountPace+account)
	if err != nil || data == nil {
		return AccountPace{Now: now}, err
	}
	line, _ := decodeTimeline(data, b.clock, now, time.Minute)
	next := line.recovered(now)
	pace := AccountPace{Now: now, End: line.Next, PerMinute: line.Rate * next.Part / line.Part, Part: next.Part}
	if line.Until.After(now) {
		pace.Until = line.Until
	}
	return pace, nil
}
