package msid

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// apply does what a line of the journal says. Nobody else uses the server yet.
// What belongs to an app that is not configured any more is forgotten.
func (s *Server) apply(r record) error {
	switch {
	case r.Mint != nil:
		s.mintKey = r.Mint
	case r.Key != nil:
		return s.keys.restore(r.Key)
	case r.Admin != "":
		s.book.admins[r.Admin] = true
	case r.Code != nil:
		return s.restoreCode(r.Code)
	case r.Grant != nil:
		return s.restoreGrant(r.Grant)
	case r.Access != nil:
		s.book.restoreToken(s.book.access, r.Access)
	case r.Refresh != nil:
		s.book.restoreToken(s.book.refresh, r.Refresh)
	default:
		return s.book.apply(r)
	}
	return nil
}

// apply does what a line says about something that a former line brought.
func (l *ledger) apply(r record) error {
	switch {
	case r.Sent != nil:
		if c := l.codes[r.Sent.Code]; c != nil {
			c.Sends = append(c.Sends, r.Sent.Send)
		}
	case r.Spent != "":
		if c := l.codes[r.Spent]; c != nil {
			c.redeemed = true
		}
	case r.Revoked != "":
		if c := l.codes[r.Revoked]; c != nil && c.grant != nil {
			c.revoke()
		}
	case r.Ended != nil:
		l.end(r.Ended.Address, r.Ended.Number)
	case r.Used != "":
		if t := l.refresh[r.Used]; t != nil {
			t.spent = true
		}
	default:
		return errors.New("unknown record")
	}
	return nil
}

// restore brings a key back, unless ids are signed by another algorithm now.
func (k *keyring) restore(r *keyRecord) error {
	if r.Alg != k.alg {
		return nil
	}
	private, err := x509.ParsePKCS8PrivateKey(r.Private)
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return errors.New("signing key: cannot sign")
	}
	k.add(signingKey{id: r.ID, signer: signer}, r.Forget)
	return nil
}

// resident finds the account of an address as an authority sees it.
func (s *Server) resident(address, tenant string) (User, authority, error) {
	a, ok := parseAuthority(tenant)
	user, known := s.people.find(address)
	if !ok || !known {
		return User{}, authority{}, errors.New("unknown tenant or address")
	}
	user, _ = a.admit(user, false)
	return user, a, nil
}

func (s *Server) restoreCode(r *codeRecord) error {
	user, a, err := s.resident(r.SignedInAs, r.Tenant)
	app := s.apps[r.ClientID]
	if err != nil || app == nil {
		return err
	}
	s.book.codes[r.ID] = &code{Code: r.Code, id: r.ID, user: user, redeemed: r.Redeemed, request: request{
		app: app, authority: a, redirect: r.Redirect, nonce: r.Nonce, challenge: r.Challenge, method: r.Method, scopes: r.Scopes,
	}}
	s.book.account(r.Address).Codes++
	return nil
}

func (s *Server) restoreGrant(r *grantRecord) error {
	user, a, err := s.resident(r.SignedInAs, r.Tenant)
	app := s.apps[r.ClientID]
	if err != nil || app == nil {
		return err
	}
	g := &grant{id: r.ID, app: app, user: user, tenant: a, scopes: r.Scopes, nonce: r.Nonce, ended: r.Ended}
	s.book.restored[r.ID] = g
	s.book.give(g)
	if c := s.book.codes[r.ID]; c != nil {
		c.redeemed, c.grant, c.TokensIssued = true, g, 1
		g.scopes = c.request.scopes // the same ones, held once
	}
	return nil
}

func (l *ledger) restoreToken(in map[string]*token, r *tokenRecord) {
	if g := l.restored[r.Grant]; g != nil {
		in[r.ID] = &token{grant: g, expires: r.Expires, spent: r.Spent}
	}
}

// keepDead is how long what has expired is remembered: a client that comes
// back with it shall hear why it is refused.
const keepDead = 24 * time.Hour

// remains yields what a restart must know, as short as can be, and forgets what
// expired long ago.
func (s *Server) remains(yield func(record) bool) {
	if !yield(record{Mint: s.mintKey}) {
		return
	}
	for _, key := range s.keys.keys {
		if !yield(record{Key: key.record(s.keys.alg, false)}) {
			return
		}
	}
	for tid := range s.book.admins {
		if !yield(record{Admin: tid}) {
			return
		}
	}
	s.book.prune(s.now().Add(-keepDead))
	s.book.remains(yield)
	s.book.restored = nil
}

// keepTokens is how many tokens of a kind a grant keeps over a restart. The old
// one of a refresh lives on for 90 days, but nobody goes back further than a
// few, and a file of all of them would grow with every hour.
const keepTokens = 4

// prune forgets what expired before a time, tokens that later ones have long
// replaced, and grants of which nothing is left.
func (l *ledger) prune(before time.Time) {
	needed := map[*grant]bool{}
	for id, c := range l.codes {
		if c.Expires.Before(before) {
			delete(l.codes, id)
			continue
		}
		needed[c.grant] = true
	}
	for _, tokens := range []map[string]*token{l.access, l.refresh} {
		pruneTokens(tokens, before)
		for _, t := range tokens {
			needed[t.grant] = true
		}
	}
	for address, list := range l.grants {
		if l.grants[address] = slices.DeleteFunc(list, func(g *grant) bool { return !needed[g] }); len(l.grants[address]) == 0 {
			delete(l.grants, address)
		}
	}
}

func pruneTokens(tokens map[string]*token, before time.Time) {
	byGrant := map[*grant][]string{}
	for id, t := range tokens {
		if t.expires.Before(before) {
			delete(tokens, id)
			continue
		}
		byGrant[t.grant] = append(byGrant[t.grant], id)
	}
	for _, ids := range byGrant {
		if len(ids) <= keepTokens {
			continue
		}
		slices.SortFunc(ids, func(a, b string) int { return tokens[b].expires.Compare(tokens[a].expires) })
		for _, id := range ids[keepTokens:] {
			delete(tokens, id)
		}
	}
}

// remains yields codes before the grants that consumed them, and grants before
// their tokens.
func (l *ledger) remains(yield func(record) bool) {
	for _, c := range l.codes {
		if !yield(c.record()) {
			return
		}
	}
	for _, list := range l.grants {
		for _, g := range list {
			if !yield(g.record()) {
				return
			}
		}
	}
	for id, t := range l.access {
		if !yield(record{Access: t.record(id)}) {
			return
		}
	}
	for id, t := range l.refresh {
		if !yield(record{Refresh: t.record(id)}) {
			return
		}
	}
}
