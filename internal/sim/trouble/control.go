package trouble

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// Control is what can be changed while a server runs: the body of
// POST /_sim/faults. What is absent stays as it is.
type Control struct {
	// Rules replaces all rules; Add appends some.
	Rules *[]Rule `json:"rules,omitempty"`
	Add   []Rule  `json:"add,omitempty"`
	// Latency and Jitter delay every answer.
	Latency *Duration `json:"latency,omitempty"`
	Jitter  *Duration `json:"jitter,omitempty"`
	// Switches is an object with those of the server's switches to change.
	Switches json.RawMessage `json:"switches,omitempty"`
}

// Apply changes the book and the switches; on an error nothing after the
// faulty part is changed. S is the server's type of switches.
func Apply[S any](b *Book, switches *atomic.Pointer[S], c Control) error {
	if c.Rules != nil {
		if err := b.Set(*c.Rules); err != nil {
			return err
		}
	}
	if err := b.Add(c.Add...); err != nil {
		return err
	}
	latency, jitter := b.Paced()
	if c.Latency != nil {
		latency = time.Duration(*c.Latency)
	}
	if c.Jitter != nil {
		jitter = time.Duration(*c.Jitter)
	}
	b.Pace(latency, jitter)
	return turn(switches, c.Switches)
}

func turn[S any](switches *atomic.Pointer[S], raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	next := *switches.Load()
	in := json.NewDecoder(bytes.NewReader(raw))
	in.DisallowUnknownFields()
	if err := in.Decode(&next); err != nil {
		return fmt.Errorf("switches: %w", err)
	}
	switches.Store(&next)
	return nil
}

// Serve answers /_sim/faults: GET with what is in force, POST by changing it.
func Serve[S any](b *Book, switches *atomic.Pointer[S]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			var c Control
			if !Read(w, r, &c) {
				return
			}
			if err := Apply(b, switches, c); err != nil {
				JSON(http.StatusBadRequest, map[string]string{"error": err.Error()}).Write(w)
				return
			}
		}
		latency, jitter := b.Paced()
		JSON(http.StatusOK, map[string]any{
			"rules": b.Rules(), "switches": switches.Load(),
			"latency": Duration(latency), "jitter": Duration(jitter),
		}).Write(w)
	}
}

// Read decodes the JSON body of a control call; it answers what it cannot
// understand and then returns false.
func Read(w http.ResponseWriter, r *http.Request, into any) bool {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<20))
	in.DisallowUnknownFields()
	if err := in.Decode(into); err != nil {
		JSON(http.StatusBadRequest, map[string]string{"error": err.Error()}).Write(w)
		return false
	}
	return true
}
