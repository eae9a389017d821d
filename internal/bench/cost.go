package bench

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// cost is what one way of doing a piece of work took, for each message.
type cost struct {
	rate   float64 // messages a second
	allocs float64
	bytes  float64       // allocated
	cpu    time.Duration // of this process, on all its processors
	// toServer and toClient are the messages on the wire, as the server counted them; consumers only.
	toServer, toClient float64
}

// meter measures from its start on.
type meter struct {
	began          time.Time
	mallocs, bytes uint64
	cpu            time.Duration
}

func startMeter() meter {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return meter{mallocs: m.Mallocs, bytes: m.TotalAlloc, cpu: cpuTime(), began: time.Now()}
}

func (m meter) stop(n int) cost {
	took, cpu := time.Since(m.began), cpuTime()-m.cpu
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	each := float64(n)
	return cost{
		rate: each / took.Seconds(), allocs: float64(now.Mallocs-m.mallocs) / each, bytes: float64(now.TotalAlloc-m.bytes) / each,
		cpu: cpu / time.Duration(n),
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// variant is one way of doing the work that a bench compares.
type variant struct {
	name string
	run  func(context.Context) (cost, error)
}

// costs are what one way took, a round each.
type costs []cost

func (s costs) median(of func(cost) float64) float64 {
	values := make([]float64, len(s))
	for i := range s {
		values[i] = of(s[i])
	}
	return median(values)
}

func (s costs) rate() float64   { return s.median(func(x cost) float64 { return x.rate }) }
func (s costs) allocs() float64 { return s.median(func(x cost) float64 { return x.allocs }) }

// ratio is the median of the rounds' ratios: what disturbs a whole round disturbs no ratio.
func (s costs) ratio(to costs) float64 {
	values := make([]float64, len(s))
	for i := range s {
		values[i] = s[i].rate / to[i].rate
	}
	return median(values)
}

func (s costs) String() string {
	if s.allocs() == 0 {
		return fmt.Sprintf("%.0f/s", s.rate()) // the work was others'
	}
	cpu := s.median(func(x cost) float64 { return float64(x.cpu.Nanoseconds()) / 1000 })
	return fmt.Sprintf("%.0f/s, %.1f allocs, %.1f µs CPU", s.rate(), s.allocs(), cpu)
}

// compare runs every variant once a round. Each round begins with another one, so that no variant always has the
// warmest machine. In a CPU profile the label "case" distinguishes the variants: go tool pprof -tagfocus.
func (o options) compare(ctx context.Context, title string, variants []variant) (map[string]costs, error) {
	all := make(map[string]costs)
	for round := range o.rounds {
		for i := range variants {
			v := variants[(i+round)%len(variants)]
			var s cost
			var err error
			pprof.Do(ctx, pprof.Labels("case", v.name), func(ctx context.Context) {
				runtime.GC()
				s, err = v.run(ctx)
			})
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", title, v.name, err)
			}
			all[v.name] = append(all[v.name], s)
			fmt.Fprintf(o.env.Stderr, "  %s, round %d, %s: %s\n", title, round+1, v.name, costs{s})
		}
	}
	return all, nil
}
