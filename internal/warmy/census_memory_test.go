package warmy

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

func TestASnapshotOfAHundredThousandMailboxesIsSmall(t *testing.T) { //nolint:paralleltest // it looks at the heap
	const most = 13 << 20
	v := &visit{roll: NewCensus(CensusConfig{Now: time.Now}).roll("main"), began: time.Now(), survey: survey{byID: make(map[string]string)}}
	for i := range 100_000 {
		v.survey.byID[fmt.Sprintf("%07d", i)] = fmt.Sprintf("first.last.%06d@customer.example", i)
	}
	shot := v.snapshot()
	v.survey.byID = nil
	with, n := heap(), len(shot.ids)
	runtime.KeepAlive(shot)
	if used := with - heap(); n != 100_000 || used > most {
		t.Errorf("%d mailboxes take %d bytes", n, used)
	} else {
		t.Logf("%d mailboxes take %.1f MB", n, float64(used)/(1<<20))
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
