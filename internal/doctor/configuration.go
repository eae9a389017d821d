package doctor

import (
	"errors"
	"fmt"

	"kindling/internal/config"
)

// configuration reports every problem that a process would end with at its start, and every warning.
func (d Doctor) configuration(cfg config.Config, err error) []Finding {
	r := report{area: areaConfig}
	if err == nil {
		err = cfg.Require(d.Role)
	}
	var invalid *config.Invalid
	switch {
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			r.wrong(p.Key, reasonOf(p), p.Remedy)
		}
	case err != nil:
		r.wrong("", err.Error(), "")
	default:
		r.ok(d.Process, "every setting that "+d.Process+" needs is there, and valid")
	}
	for _, w := range cfg.Warnings(d.Role) {
		r.warn(w.Key, reasonOf(w), w.Remedy)
	}
	return r.list
}

// reasonOf is a problem without its key and its remedy.
func reasonOf(p config.Problem) string {
	reason := p.Reason
	if p.Value != "" {
		reason = fmt.Sprintf("%q %s", p.Value, reason)
	}
	if p.Where != "" && p.Where != p.Key {
		reason = p.Where + ": " + reason
	}
	return reason
}
