package bus

import (
	"context"
	"time"
)

// PaceEnd returns until when an account's call budget is given out: what lies ahead, or less than a call's share of a
// minute behind, says that the budget is in full use; what lies long behind that it is idle. It is zero when nobody has ever
// used it.
func (b *Bus) PaceEnd(ctx context.Context, account string) (time.Time, error) {
	data, _, err := (kv{b, bucketControl}).get(ctx, "pace."+account)
	if err != nil || len(data) == 0 {
		return time.Time{}, err
	}
	return decodeTimeline(data, time.Now()), nil
}
