package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/mailbox"
)

// Box seals what must not be readable in a stream. The context binds a sealed text to its place: it opens nowhere else.
type Box interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// codec turns a fact into its stored form and back.
type codec[T any] struct {
	encode func(id string, fact T) ([]byte, error)
	decode func(id string, data []byte) (T, error)
}

// Records is one bucket of facts. It implements handlers.Records.
type Records[T any] struct {
	kv     kv
	codec  codec[T]
	prefix string // of the keys, for a kind of fact that has no bucket to itself
}

// Load returns the last saved fact of id and its revision; the zero value and 0 when there is none.
func (r Records[T]) Load(ctx context.Context, id string) (T, uint64, error) {
	var zero T
	data, revision, err := r.kv.get(ctx, r.prefix+id)
	if err != nil || revision == 0 {
		return zero, 0, err
	}
	fact, err := r.codec.decode(id, data)
	if err != nil {
		return zero, 0, unreadableRecord(r.kv.bucket, err)
	}
	return fact, revision, nil
}

// Save stores fact if revision still is its last one; handlers.ErrConflict otherwise.
func (r Records[T]) Save(ctx context.Context, id string, fact T, revision uint64) (uint64, error) {
	data, err := r.codec.encode(id, fact)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", r.kv.bucket, err)
	}
	return r.kv.put(ctx, r.prefix+id, data, revision)
}

func plainCodec[T any]() codec[T] {
	return codec[T]{
		encode: func(_ string, fact T) ([]byte, error) { return json.Marshal(fact) },
		decode: func(_ string, data []byte) (T, error) {
			var fact, none T
			if err := decodeRecord(data, &fact, nil); err != nil {
				return none, err
			}
			return fact, nil
		},
	}
}

// recordVersion is the version of the stored forms that this build writes.
const recordVersion = 1

// newerRecordDelay is how long an event waits whose record a newer build has written.
const newerRecordDelay = 30 * time.Second

var (
	errNoValue   = errors.New("the value is empty, or was deleted")
	errNotOpened = errors.New("the sealed part does not open with this process's keys, or belongs to another record")
)

// decodeRecord reads a stored form. version, where the form has one, is what it says after decoding. An empty value is
// never "no fact": no process of ours deletes one, and whoever believed that nothing was posted would post again.
func decodeRecord(data []byte, into any, version *int) error {
	if len(data) == 0 {
		return errNoValue
	}
	if serverAnswer(data) {
		return errServerAnswer
	}
	if err := events.DecodeStrict(data, into); err != nil {
		return err
	}
	if version != nil && *version > recordVersion {
		return fmt.Errorf("record of version %d: %w", *version, events.ErrNewer)
	}
	return nil
}

// unreadableRecord is the fault of an event whose mailbox has a record that this process cannot read.
func unreadableRecord(bucket string, err error) error {
	f := &fault.Fault{
		Class: fault.Permanent, Code: "record_unreadable", Forecast: fault.ByConfig, Err: err,
		Cause:  "the stored record of this mailbox in bucket " + bucket + " cannot be read",
		Remedy: "restore the record from a backup, then replay",
	}
	switch {
	case errors.Is(err, events.ErrNewer):
		f.Class, f.Code, f.Forecast, f.After = fault.RetryAfter, "record_newer", fault.ByTime, newerRecordDelay
		f.Remedy = "finish the upgrade of the workers, then replay"
	case errors.Is(err, errNotOpened):
		f.Code = "record_not_opened"
		f.Remedy = "check that all processes share the keysets, old keys included; then replay"
	}
	return f
}

// Campaigns returns the imported files. The console alone may save.
func (b *Bus) Campaigns() Records[mailbox.Campaign] {
	return Records[mailbox.Campaign]{kv: kv{b, bucketCampaigns}, codec: plainCodec[mailbox.Campaign]()}
}

// Claims returns what the edge knows. callback-ingest alone may save.
func (b *Bus) Claims() Records[mailbox.Claim] {
	return Records[mailbox.Claim]{kv: kv{b, bucketClaims}, codec: plainCodec[mailbox.Claim]()}
}

// AdminConsents returns what is known of tenants' admins, under mailbox.TenantKey. callback-ingest alone may save.
func (b *Bus) AdminConsents() Records[mailbox.AdminConsent] {
	return Records[mailbox.AdminConsent]{kv: kv{b, bucketTenants}, codec: plainCodec[mailbox.AdminConsent]()}
}

// Registrations returns what warmy-worker knows. It alone may save.
func (b *Bus) Registrations() Records[mailbox.Registration] {
	return Records[mailbox.Registration]{kv: kv{b, bucketRegistrations}, codec: plainCodec[mailbox.Registration]()}
}

// Identities returns which mailbox holds which identity at Warmy, under mailbox.IdentityKey. warmy-worker alone may save.
func (b *Bus) Identities() Records[mailbox.Identity] {
	return Records[mailbox.Identity]{kv: kv{b, bucketIdentities}, codec: plainCodec[mailbox.Identity]()}
}

// Invitations returns the imported rows; addresses and names are sealed with people. The console alone may save.
func (b *Bus) Invitations(people Box) Records[mailbox.Invitation] {
	return Records[mailbox.Invitation]{kv: kv{b, bucketMailboxes}, codec: invitationCodec(people)}
}

// Grants returns what token-worker knows; tokens are sealed with grants. It alone may save. With a nil Box the tokens
// are shown without their texts, and nothing can be saved: that is how the console reads.
func (b *Bus) Grants(grants Box) Records[mailbox.Grant] { return b.GrantsOf(grants, nil) }

// GrantsOf is Grants with the accounts that consented where others were invited. They are sealed with people; without it
// they are not shown, and cannot be saved.
func (b *Bus) GrantsOf(grants, people Box) Records[mailbox.Grant] {
	return Records[mailbox.Grant]{kv: kv{b, bucketGrants}, codec: grantCodec(grants, people)}
}

// listedKey is where the last trusted listings are kept in the control bucket.
const listedKey = "listed."

// Listed returns what is remembered of the last trusted listing of each Warmy account, by the account's name; nothing,
// where it cannot be read. warmy-worker alone may save.
func (b *Bus) Listed() Records[mailbox.Listed] {
	lenient := plainCodec[mailbox.Listed]()
	strict := lenient.decode
	lenient.decode = func(account string, data []byte) (mailbox.Listed, error) {
		if l, err := strict(account, data); err == nil && l.Count >= 0 {
			return l, nil
		}
		return mailbox.Listed{}, nil
	}
	return Records[mailbox.Listed]{kv: kv{b, bucketControl}, codec: lenient, prefix: listedKey}
}
