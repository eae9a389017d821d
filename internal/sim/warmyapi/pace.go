package warmyapi

import (
	"math"
	"strconv"
	"sync"
	"time"

	"kindling/internal/sim/trouble"
)

// window is the span in which calls are counted.
const window = time.Minute

// defaultCalls is the limit that Warmy's help page names.
const defaultCalls = 60

// pace counts the calls of the last minute: all that arrive, for the ledger,
// and those accepted, for the limit.
type pace struct {
	mu       sync.Mutex
	arrived  queue
	accepted queue
	most     int
	refused  int
}

// queue holds the times of the last minute in order.
type queue struct {
	times []time.Time
	head  int
}

// push forgets what is a minute old, adds now, and returns how many are held.
func (q *queue) push(now time.Time) int {
	q.forget(now)
	q.times = append(q.times, now)
	return len(q.times) - q.head
}

func (q *queue) forget(now time.Time) int {
	for q.head < len(q.times) && now.Sub(q.times[q.head]) >= window {
		q.head++
	}
	if q.head > 1024 && q.head*2 > len(q.times) {
		q.times = append(q.times[:0], q.times[q.head:]...)
		q.head = 0
	}
	return len(q.times) - q.head
}

// arrive notes a call and reports whether it is within the limit, and if not,
// how long to wait. A refused call uses nothing of the limit.
func (p *pace) arrive(now time.Time, limit int) (wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = max(p.most, p.arrived.push(now))
	if limit == 0 {
		limit = defaultCalls
	}
	if held := p.accepted.forget(now); limit > 0 && held >= limit {
		p.refused++
		oldest := p.accepted.times[p.accepted.head+held-limit]
		return window - now.Sub(oldest), false
	}
	p.accepted.push(now)
	return 0, true
}

func (p *pace) figures() (most, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most, p.refused
}

// throttled is Warmy's answer above the limit.
func throttled(retryAfter string, wait time.Duration) trouble.Reply {
	reply := trouble.JSON(429, map[string]string{"error": "error 429"})
	if retryAfter == "auto" {
		retryAfter = strconv.Itoa(int(math.Ceil(wait.Seconds())))
	}
	if retryAfter != "" {
		reply.Header.Set("Retry-After", retryAfter)
	}
	return reply
}
