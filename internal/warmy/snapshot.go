package warmy

import (
	"time"

	"kindling/internal/handlers"
)

// snapshot is a complete listing: the ids by canonical address, nothing else, for 100,000 mailboxes are many.
type snapshot struct {
	began    time.Time
	ids      map[string]string // twice: listed under two ids
	withheld map[string]bool   // addresses of which nothing is said
}

// twice stands for the id of an address that is listed twice. No id of Warmy's is empty.
const twice = ""

// of answers for one address.
func (s *snapshot) of(address string) reply {
	id, found := s.ids[address]
	switch {
	case s.withheld[address]:
		return reply{err: suspicious(renamed())}
	case found && id == twice:
		return reply{err: listedTwice()}
	}
	return reply{listing: handlers.Listing{ID: id, Found: found, Began: s.began}}
}

// serves reports whether the snapshot may answer a.
func (s *snapshot) serves(a *ask) bool { return !s.began.Before(a.since) }

// snapshot is what the listing showed.
func (v *visit) snapshot() *snapshot {
	ids := make(map[string]string, len(v.survey.byID))
	for id, email := range v.survey.byID {
		address := canonical(email)
		if _, listed := ids[address]; listed {
			id = twice
		}
		ids[address] = id
	}
	return &snapshot{began: v.began, ids: ids, withheld: v.roll.withheld()}
}
