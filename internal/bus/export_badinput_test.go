package bus

import (
	"time"

	"github.com/nats-io/nats.go"

	"kindling/internal/events"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

// Read is read, for one header.
func Read(subject, header, value string, payload []byte, now time.Time) (events.Event, error) {
	return read(subject, nats.Header{header: {value}}, payload, now)
}

// Recode decodes a fact of a bucket and encodes it again.
func Recode(bucket string, box Box, data []byte) ([]byte, error) {
	switch bucket {
	case bucketCampaigns:
		return recode(plainCodec[mailbox.Campaign](), data)
	case bucketMailboxes:
		return recode(invitationCodec(box), data)
	case bucketClaims:
		return recode(plainCodec[mailbox.Claim](), data)
	case bucketGrants:
		return recode(grantCodec(box, box), data)
	case bucketRegistrations:
		return recode(plainCodec[mailbox.Registration](), data)
	case bucketIdentities:
		return recode(plainCodec[mailbox.Identity](), data)
	case bucketTenants:
		return recode(plainCodec[mailbox.AdminConsent](), data)
	}
	panic("no bucket " + bucket)
}

func recode[T any](c codec[T], data []byte) ([]byte, error) {
	fact, err := c.decode("mb1", data)
	if err != nil {
		return nil, err
	}
	return c.encode("mb1", fact)
}

// DecodeLeg is decodeLeg.
func DecodeLeg(name string, data []byte) (leg.Leg, error) { return decodeLeg(name, data) }

// DecodeTimeline is decodeTimeline.
func DecodeTimeline(data []byte, now time.Time) (next, until time.Time, part float64) {
	line, _ := decodeTimeline(data, newServerClock(nil), now, time.Minute)
	return line.Next, line.Until, line.Part
}

// DecodeBegan is decodeBegan.
func DecodeBegan(data []byte) int { return decodeBegan(data) }

// ServerAnswer is serverAnswer.
func ServerAnswer(data []byte) bool { return serverAnswer(data) }

// WithoutAddress is withoutAddress.
func WithoutAddress(subject string) string { return withoutAddress(subject) }
