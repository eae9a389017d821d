package microsoft

import (
	"slices"
	"sync/atomic"

	"kindling/internal/secret"
)

// Credentials are what an app proves itself with to the token endpoint: the certificate if there is one, else the secrets.
type Credentials struct {
	Secrets     []secret.Text // in the order in which they are tried
	Certificate *Certificate  // nil: the secrets
}

// credentials are the Credentials of one reading, and which secret was accepted last: the others are not offered first
// again, because it is not known whether a refused client costs the code.
type credentials struct {
	Credentials
	accepted atomic.Int32
}

func newCredentials(c Credentials) *credentials {
	return &credentials{Credentials: Credentials{Secrets: slices.Clone(c.Secrets), Certificate: c.Certificate}}
}

// order lists the secrets by their positions, the accepted one first. An app without any is tried once: Microsoft's answer
// says what is missing.
func (c *credentials) order() []int {
	n := len(c.Secrets)
	if c.Certificate != nil || n == 0 {
		return []int{-1}
	}
	first := int(c.accepted.Load())
	positions := make([]int, n)
	for i := range positions {
		positions[i] = (first + i) % n
	}
	return positions
}

// at returns the secret at a position of order; empty if none is to be sent.
func (c *credentials) at(position int) secret.Text {
	if position < 0 {
		return secret.Text{}
	}
	return c.Secrets[position]
}

func (c *credentials) accept(position int) {
	if position >= 0 {
		c.accepted.Store(int32(position)) //nolint:gosec // an index of a short list
	}
}

// Replace gives an app other credentials from now on; none of them counts as accepted yet. A call under way that is refused
// with the old ones tries the new ones. It is safe while calls are made. The error is that no app has this name.
func (c *Client) Replace(app string, with Credentials) error {
	reg, err := c.app(app)
	if err != nil {
		return err
	}
	reg.held.Store(newCredentials(with))
	return nil
}

// RefusedCredentials reports whether a fault's code means that what an app proved itself with was refused. Other credentials
// may do better.
func RefusedCredentials(code string) bool {
	if code == "invalid_client" {
		return true
	}
	return slices.ContainsFunc(table(), func(r row) bool {
		return r.proof && slices.ContainsFunc(r.codes, func(number int) bool { return aadsts(number) == code })
	})
}
