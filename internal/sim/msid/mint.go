package msid

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Prefixes and lengths resemble Microsoft's, so that what stores or sends them
// meets realistic sizes.
const (
	codePrefix    = "1.AXkA"
	refreshPrefix = "1.ARkB"
	accessPrefix  = "EwBA"
	codeLength    = 720
	refreshLength = 1100
	accessLength  = 1600
	idLength      = 26
)

// mint returns a new opaque token and its id. The id stands in the token and
// the rest is derived from it, so the ledger need not keep long texts.
func (s *Server) mint(prefix string, length int) (text, id string) {
	id = rand.Text()
	return s.spell(prefix, length, id), id
}

func (s *Server) spell(prefix string, length int, id string) string {
	fill := make([]byte, (length-len(prefix)-idLength)*3/4)
	shake := sha3.NewSHAKE128()
	_, _ = shake.Write(s.mintKey)
	_, _ = shake.Write([]byte(prefix + id))
	_, _ = shake.Read(fill)
	return prefix + id + base64.RawURLEncoding.EncodeToString(fill)
}

// identify returns the id of a token of ours; a damaged one has none.
func (s *Server) identify(prefix string, length int, text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok || len(rest) < idLength {
		return "", false
	}
	id := rest[:idLength]
	return id, subtle.ConstantTimeCompare([]byte(text), []byte(s.spell(prefix, length, id))) == 1
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
