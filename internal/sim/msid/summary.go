package msid

import (
	"maps"
	"slices"
	"strings"
)

// Summary counts everything the server has seen.
type Summary struct {
	// Calls counts by operation and outcome.
	Calls map[string]map[string]int `json:"calls"`
	// Codes is the number issued, Redeemed those that became tokens.
	Codes    int `json:"codes"`
	Redeemed int `json:"redeemed"`
	// SentTwice counts codes that arrived more than once.
	SentTwice int `json:"sent_twice"`
	// SentAfterTokens counts codes sent again after their tokens arrived.
	SentAfterTokens int `json:"sent_after_tokens"`
	// Revoked counts grants ended because their code was sent again.
	RevokedByReplay int `json:"revoked_by_replay"`
}

// Summary returns the totals.
func (s *Server) Summary() Summary {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	out := Summary{Calls: map[string]map[string]int{}, Codes: len(s.book.codes)}
	for op, by := range s.book.calls {
		out.Calls[op] = maps.Clone(by)
	}
	for _, c := range s.book.codes {
		out.Redeemed += min(c.TokensIssued, 1)
		out.SentTwice += truth(len(c.Sends) > 1)
		out.SentAfterTokens += truth(c.SentAfterTokens())
		out.RevokedByReplay += truth(c.RevokedByReplay)
	}
	return out
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Codes returns the codes issued for an address, or all codes for "", oldest first.
func (s *Server) Codes(address string) []Code {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	var out []Code
	for _, c := range s.book.codes {
		if address == "" || strings.EqualFold(address, c.Address) {
			entry := c.Code
			entry.Sends = slices.Clone(c.Sends)
			out = append(out, entry)
		}
	}
	slices.SortFunc(out, func(a, b Code) int { return a.Issued.Compare(b.Issued) })
	return out
}

// Account returns what is known of an address; the zero counts if nothing is.
func (s *Server) Account(address string) Account {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	a, ok := s.book.accounts[strings.ToLower(address)]
	if !ok {
		return Account{Address: strings.ToLower(address)}
	}
	out := *a
	out.Refreshes = slices.Clone(a.Refreshes)
	return out
}
