package seal

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/tink-crypto/tink-go/v2/prf"

	"kindling/internal/mailbox"
)

// A mailbox's id is idBytes of a keyed hash: 120 bits, so that a million mailboxes collide with probability 2⁻⁸¹.
// A link's token is the id and linkBytes (144 bits) of another keyed hash, which nobody can guess.
const (
	idBytes   = 15
	linkBytes = 18
	linkChars = 44
)

// IDs names mailboxes and their links. Its keyset must never be exchanged while mailboxes are known: every id would change.
// A second key may be added to it, but the primary one has to stay.
type IDs struct{ prf *prf.Set }

// OpenIDs reads the keyset that names mailboxes (console).
func OpenIDs(dir string) (*IDs, error) {
	k, err := readSecret(dir, IDsFile)
	if err != nil {
		return nil, err
	}
	set, err := prf.NewPRFSet(k.handle)
	if err != nil {
		return nil, k.wrongKind("keyset for keyed hashes (PRF)")
	}
	ids := &IDs{prf: set}
	if _, err := ids.hash("probe", linkBytes); err != nil {
		return nil, k.wrongKind("keyset for keyed hashes (PRF)")
	}
	return ids, nil
}

// Mailbox returns the id of the mailbox with this address under this app: 24 lower-case letters and digits.
// The letter case of the address does not matter.
func (i *IDs) Mailbox(app, address string) mailbox.ID {
	return encodeID(i.mustHash("mailbox\x00"+app+"\x00"+strings.ToLower(address), idBytes))
}

// Link returns the token of a mailbox's consent link: 44 characters of the URL-safe base64 alphabet. Each generation has
// another one. The id must be one that Mailbox returned.
func (i *IDs) Link(id mailbox.ID, generation int) string {
	raw, ok := decodeID(id)
	if !ok {
		return ""
	}
	proof := i.mustHash("link\x00"+id+"\x00"+strconv.Itoa(generation), linkBytes)
	return base64.RawURLEncoding.EncodeToString(append(raw, proof...))
}

// ParseLink returns the id within a link's token, if the token has the right form. Whether it is genuine is told only by
// comparing its mailbox.Hash with the invitation's.
func ParseLink(token string) (id mailbox.ID, ok bool) {
	if len(token) != linkChars {
		return "", false
	}
	// The decoder skips line ends; the length tells.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != idBytes+linkBytes {
		return "", false
	}
	return encodeID(raw[:idBytes]), true
}

func (i *IDs) hash(input string, size uint32) ([]byte, error) {
	out, err := i.prf.ComputePrimaryPRF([]byte(input), size)
	if err != nil {
		return nil, fmt.Errorf("keyed hash: %w", err)
	}
	return out, nil
}

// mustHash relies on OpenIDs, which has tried the keyset with the longest output: an HMAC of that length cannot fail afterwards.
func (i *IDs) mustHash(input string, size uint32) []byte {
	out, err := i.hash(input, size)
	if err != nil {
		panic(err)
	}
	return out
}

// encoding is the lower-case base32 alphabet of RFC 4648 without padding.
func encoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

func encodeID(raw []byte) mailbox.ID { return encoding().EncodeToString(raw) }

func decodeID(id mailbox.ID) ([]byte, bool) {
	raw, err := encoding().DecodeString(id)
	return raw, err == nil && len(raw) == idBytes
}
