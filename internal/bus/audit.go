package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"kindling/internal/events"
)

// Audit is the append-only trail of what operators did.
type Audit struct{ bus *Bus }

// Audit returns the audit trail.
func (b *Bus) Audit() Audit { return Audit{b} }

// Append stores one entry durably. Whoever cannot append must not act.
func (a Audit) Append(ctx context.Context, e events.AuditEntry) error {
	e.Version = events.Version
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode audit entry: %w", err)
	}
	msg := nats.NewMsg("kindling.audit.operator")
	msg.Data = data
	return a.bus.publish(ctx, []*nats.Msg{msg})
}
