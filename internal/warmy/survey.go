package warmy

import (
	"errors"
	"fmt"

	"kindling/internal/fault"
)

// survey is what the pages of one listing have shown so far.
type survey struct {
	byID  map[string]string // address by id
	count int               // as the last page said
	grew  bool              // the number of mailboxes rose while they were listed
}

// add takes the next page; a fault means that the listing is not to be trusted. The number of mailboxes may rise
// meanwhile, since mailboxes are posted all the time: what was there is still seen, if it all adds up in the end.
func (s *survey) add(p Page) *fault.Fault {
	if s.byID == nil {
		s.byID, s.count = make(map[string]string, len(p.Items)), p.Count
	}
	switch {
	case p.Total > maxPages:
		return endless()
	case p.Count < s.count:
		return moved()
	case p.Count > s.count:
		s.grew, s.count = true, p.Count
	}
	if len(p.Items) == 0 && !p.Last {
		return s.odd("a page in the middle of the listing is empty")
	}
	for _, item := range p.Items {
		if _, seen := s.byID[item.ID]; seen {
			return s.odd("the listing repeats itself")
		}
		s.byID[item.ID] = item.Email
	}
	return nil
}

// complete returns why a listing that has ended cannot be trusted: it does not hold all that it says. nil: it does.
func (s *survey) complete() *fault.Fault {
	if len(s.byID) != s.count {
		return s.odd("the listing is shorter or longer than it says")
	}
	return nil
}

// odd is a listing that does not add up: because mailboxes moved between its pages, or for no good reason.
func (s *survey) odd(why string) *fault.Fault {
	if s.grew {
		return moved()
	}
	return untrusted(why)
}

// find looks a whole address up in a complete listing.
func (s *survey) find(address string) (id string, found bool, err error) {
	for candidate, email := range s.byID {
		if !sameAddress(email, address) {
			continue
		}
		if found {
			return "", false, listedTwice()
		}
		id, found = candidate, true
	}
	return id, found, nil
}

var errMoved = errors.New("mailboxes came or went")

// moved is a listing whose mailboxes came and went between its pages. That is nothing odd; it only proves nothing.
func moved() *fault.Fault {
	f := untrusted("the number of mailboxes changed while they were listed")
	f.Err = errMoved
	return f
}

func endless() *fault.Fault {
	return untrusted(fmt.Sprintf("the listing does not end within %d pages", maxPages))
}

func listedTwice() *fault.Fault {
	return permanent("warmy_listed_twice", "Warmy lists the address under two ids", "remove one of the two at Warmy, then replay", fault.ByConfig)
}

func untrusted(why string) *fault.Fault {
	return &fault.Fault{
		Class: fault.Transient, Code: codeUntrusted, Forecast: fault.ByTime,
		Cause: "Warmy's listing is not to be trusted: " + why, Remedy: "none: it is listed again; look at Warmy's API if it lasts",
	}
}
