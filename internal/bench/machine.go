package bench

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// neighbours is the processor time that others used between two moments: figures of a busy machine are worth little.
type neighbours struct {
	began time.Time
	busy  time.Duration // of the whole machine; 0: not known
	ours  time.Duration // of this process and of its children that have ended
}

func watchNeighbours() neighbours {
	var self, children syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &self) // cannot fail with these arguments
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children)
	ours := self.Utime.Nano() + self.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano()
	return neighbours{began: time.Now(), busy: machineBusy(), ours: time.Duration(ours)}
}

func (n neighbours) figure() figure {
	now := watchNeighbours()
	if n.busy == 0 || now.busy == 0 {
		return remark("machine", fmt.Sprintf("%d processors; the use by others is not known", runtime.NumCPU()))
	}
	others := max(0, (now.busy-n.busy)-(now.ours-n.ours))
	share := others.Seconds() / now.began.Sub(n.began).Seconds() / float64(runtime.NumCPU())
	return remark("machine", fmt.Sprintf("%d processors; others used %.0f %% of them meanwhile", runtime.NumCPU(), 100*share))
}

// tick is the unit of /proc/stat.
const tick = time.Second / 100

// machineBusy is the processor time that was not idle since the machine was started, 0 when that cannot be read.
func machineBusy() time.Duration {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	var busy time.Duration
	for i, field := range bytes.Fields(line) {
		n, err := strconv.ParseInt(string(field), 10, 64)
		idle := i == 4 || i == 5 // idle, and idle while a disk works
		if err == nil && !idle && i <= 8 {
			busy += time.Duration(n) * tick
		}
	}
	return busy
}
