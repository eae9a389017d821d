package handlers

import (
	"sync"
	"time"
)

const (
	// keptTimes are the redeems that are remembered per app. The next one takes longer than the longest of n with a
	// chance of one in n+1, whatever the distribution.
	keptTimes = 64
	// staleTime is the age from which a redeem says nothing about the next one.
	staleTime = 15 * time.Minute
	// assumedTime stands for every redeem that is not known.
	assumedTime = time.Second
	// mostNeed bounds what is asked for. A code that is dead before its deadline can also be the doing of whoever
	// brought it.
	mostNeed = time.Minute
)

// RedeemTimes tells how much life a code must have left to be worth sending: as long as the slowest of the last
// redeems took. Sending one that cannot finish costs a place in which another could have been saved; leaving one too
// early costs nothing then, because the next one in line lives longer. Safe for concurrent use; nil knows nothing.
type RedeemTimes struct {
	mu   sync.Mutex
	apps map[string]*lastTimes
}

// lastTimes is a ring of what the last redeems of one app needed.
type lastTimes struct {
	at   [keptTimes]time.Time
	took [keptTimes]time.Duration
	next int
}

// NewRedeemTimes returns times of which nothing is known.
func NewRedeemTimes() *RedeemTimes { return &RedeemTimes{apps: make(map[string]*lastTimes)} }

// Need returns how much life a code of app must have left at now.
func (r *RedeemTimes) Need(app string, now time.Time) time.Duration {
	if r == nil {
		return assumedTime
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.apps[app]
	if !ok {
		return assumedTime
	}
	return last.longest(now)
}

// Took records that a redeem was answered with tokens after d.
func (r *RedeemTimes) Took(app string, now time.Time, d time.Duration) { r.add(app, now, d) }

// Dead records that a code was refused as dead at its first send, although it seemed to live for left. So codes die
// earlier than we think (clocks differ, or the owner's browser was slow to bring it): more life is asked of the next ones.
func (r *RedeemTimes) Dead(app string, now time.Time, left time.Duration) {
	if left >= 0 && left < mostNeed {
		r.add(app, now, max(2*left, left+time.Second))
	}
}

func (r *RedeemTimes) add(app string, now time.Time, d time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.apps[app]
	if !ok {
		last = &lastTimes{}
		r.apps[app] = last
	}
	last.at[last.next], last.took[last.next] = now, min(mostNeed, d)
	last.next = (last.next + 1) % keptTimes
}

func (l *lastTimes) longest(now time.Time) time.Duration {
	var longest time.Duration
	for i, at := range l.at {
		took := l.took[i]
		if now.Sub(at) > staleTime {
			took = assumedTime
		}
		longest = max(longest, took)
	}
	return longest
}
