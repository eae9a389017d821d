package bus

import (
	"encoding/json"
	"testing"
	"time"
)

// A process whose clock was a day ahead ended a walk, or died in one. The clocks are right since: nobody may be kept from
// walking for a day.
func TestALeaseOfAWrongClockStopsNobody(t *testing.T) {
	t.Parallel()
	b := insideBus(t)
	for name, stored := range map[string]storedLease{
		"done":  {Done: time.Now().Add(24 * time.Hour)},
		"until": {Owner: "dead", Until: time.Now().Add(24 * time.Hour)},
	} {
		l := lease{kv: kv{b, bucketControl}, key: "restore.skewed-" + name, owner: "w1"}
		data, err := json.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.kv.put(t.Context(), l.key, data, 0); err != nil {
			t.Fatal(err)
		}
		if wait, err := l.take(t.Context(), 10*time.Minute); err != nil || wait != 0 {
			t.Errorf("%s: told to wait for %v, %v", name, wait, err)
		}
	}
}
