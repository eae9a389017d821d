package sandbox

import (
	"math/rand/v2"
	"strconv"
	"time"

	"kindling/internal/sim/crowd"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/trouble"
	"kindling/internal/sim/warmyapi"
)

// Plot is one kind of trouble that the demo plays.
type Plot struct {
	Name      string
	Behaviour crowd.Behaviour
	microsoft func(address string) trouble.Rule // nil: none
	warmy     func(address string) trouble.Rule
}

// plots lists the demo's troubles. Those of an owner end with the owner; those of time heal; the 422 needs a setting.
func plots() []Plot {
	once := func(r trouble.Rule, address string) trouble.Rule {
		r.Address, r.Times, r.PerAddress = address, 1, true
		return r
	}
	return []Plot{
		{Name: "the owner declines", Behaviour: crowd.Decline},
		{Name: "somebody else consents", Behaviour: crowd.WrongAccount},
		{Name: "the code has expired", Behaviour: crowd.SlowCode},
		{Name: "Microsoft answers 429 with Retry-After", Behaviour: crowd.Accept, microsoft: func(a string) trouble.Rule {
			return once(trouble.Rule{Kind: trouble.Throttled, Op: msid.OpCode, RetryAfter: "2"}, a)
		}},
		{Name: "Warmy answers 500", Behaviour: crowd.Accept, warmy: func(a string) trouble.Rule {
			return once(trouble.Rule{Kind: trouble.ServerError, Op: warmyapi.OpCreate}, a)
		}},
		{Name: "Warmy refuses the tariff plan (422)", Behaviour: crowd.Accept, warmy: func(a string) trouble.Rule {
			r := warmyapi.FieldError("tariff_plan_type_id", "is not available for this workspace")
			r.Address = a
			return r
		}},
		{Name: "Warmy creates the mailbox, and the answer is lost", Behaviour: crowd.Accept, warmy: func(a string) trouble.Rule {
			r := warmyapi.LostAnswer()
			r.Delay = trouble.Duration(30 * time.Second)
			return once(r, a)
		}},
	}
}

// Cast decides who meets which trouble: one in ten, every kind at least once where there are mailboxes enough, always
// the same ones for a seed.
type Cast map[string]Plot

// NewCast casts the plots over the addresses.
func NewCast(addresses []string, seed uint64) Cast {
	all := plots()
	order := rand.New(rand.NewPCG(seed, uint64(len(addresses)))).Perm(len(addresses)) //nolint:gosec // a script, no secret
	cast := make(Cast)
	for i, n := range order[:(len(addresses)+9)/10] {
		cast[addresses[n]] = all[i%len(all)]
	}
	return cast
}

// Stage gives the simulators their parts.
func (c Cast) Stage(w *World) error {
	for address, plot := range c {
		if plot.microsoft != nil {
			if err := w.Microsoft.Fault(plot.microsoft(address)); err != nil {
				return err
			}
		}
		if plot.warmy != nil {
			if err := w.Warmy.Fault(plot.warmy(address)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Behaviour is what the owner of address does.
func (c Cast) Behaviour(address string) crowd.Behaviour {
	if plot, ok := c[address]; ok {
		return plot.Behaviour
	}
	return crowd.Accept
}

// Count returns how many mailboxes meet each trouble, as "3 × name".
func (c Cast) Count() []string {
	counts := make(map[string]int)
	for _, plot := range c {
		counts[plot.Name]++
	}
	var lines []string
	for _, plot := range plots() {
		if n := counts[plot.Name]; n > 0 {
			lines = append(lines, strconv.Itoa(n)+" × "+plot.Name)
		}
	}
	return lines
}
