package warmyapi

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kindling/internal/sim/journal"
)

// Post is one arrival of a mailbox at POST /api/v2/mailboxes.
type Post struct {
	At time.Time `json:"at"`
	// Outcome is the status, or the kind of the trouble played.
	Outcome string `json:"outcome"`
	// ID is the mailbox that the call made or met; 0 if none.
	ID int64 `json:"id"`
	// Created reports whether the call made a new mailbox.
	Created bool `json:"created"`
	// Delivered reports whether the client could read the true answer.
	Delivered bool `json:"delivered"`
}

// Summary counts everything the server has seen.
type Summary struct {
	// Calls counts by operation and outcome.
	Calls map[string]map[string]int `json:"calls"`
	// Mailboxes is the number that exist now.
	Mailboxes int `json:"mailboxes"`
	// Addresses is the number of addresses that exist now.
	Addresses int `json:"addresses"`
	// CreatedTwice counts addresses that more than one POST created.
	CreatedTwice int `json:"created_twice"`
	// PostedAgain counts addresses posted again after a delivered success.
	PostedAgain int `json:"posted_again"`
	// ForeignTokens counts mailboxes made with another owner's tokens.
	ForeignTokens int `json:"foreign_tokens"`
	// MostPerMinute is the most calls that arrived in any sliding minute.
	MostPerMinute int `json:"most_per_minute"`
	// Refused counts the calls above the limit.
	Refused int `json:"refused"`
}

// store holds the mailboxes and the ledger. One mutex is enough: every section
// is a few map operations, save a listing, which is rare.
type store struct {
	journal *journal.Journal[record] // nil: memory only

	mu      sync.Mutex
	next    int64
	boxes   []*Mailbox // in the order of their ids
	byID    map[int64]*Mailbox
	byEmail map[string][]*Mailbox
	posts   map[string][]Post
	calls   map[string]map[string]int
	foreign int
}

func newStore() *store {
	return &store{
		next: 1000, byID: map[int64]*Mailbox{}, byEmail: map[string][]*Mailbox{},
		posts: map[string][]Post{}, calls: map[string]map[string]int{},
	}
}

func (s *store) count(op, outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[op] == nil {
		s.calls[op] = map[string]int{}
	}
	s.calls[op][outcome]++
}

func (s *store) posted(address string, post Post) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts[address] = append(s.posts[address], post)
	if post.ID != 0 {
		s.journal.Append(func() record { return record{Post: &postRecord{Email: address, Post: post}} })
	}
}

// put stores a mailbox as the duplicate mode has it; ok is false when the
// address is taken.
func (s *store) put(box Mailbox, mode string) (id int64, created, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byEmail[box.Email]; len(old) > 0 && box.Email != "" && mode != DuplicateSecond {
		if mode == DuplicateRefused {
			return 0, false, false
		}
		box.ID, box.CreatedAt = old[0].ID, old[0].CreatedAt
		box.StateKey, box.WarmupActive = old[0].StateKey, old[0].WarmupActive
		s.change(old[0], box)
		return box.ID, false, true
	}
	s.next++
	box.ID = s.next
	s.insert(&box)
	s.journal.Append(func() record { return boxed(box) })
	return box.ID, true, true
}

// insert adds a mailbox whose id is the highest; the caller holds the mutex.
func (s *store) insert(box *Mailbox) {
	if box.Owner != "" && box.Owner != box.Email {
		s.foreign++
	}
	s.boxes = append(s.boxes, box)
	s.byID[box.ID] = box
	s.byEmail[box.Email] = append(s.byEmail[box.Email], box)
}

// change replaces what is known of a mailbox; the caller holds the mutex.
func (s *store) change(old *Mailbox, box Mailbox) {
	*old = box
	s.journal.Append(func() record { return boxed(box) })
}

func (s *store) get(id int64) (Mailbox, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	box, ok := s.byID[id]
	if !ok {
		return Mailbox{}, false
	}
	return *box, true
}

func (s *store) replace(box Mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.byID[box.ID]; ok {
		s.change(old, box)
	}
}

func (s *store) remove(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	box, ok := s.byID[id]
	if !ok {
		return
	}
	same := func(other *Mailbox) bool { return other == box }
	delete(s.byID, id)
	s.boxes = slices.DeleteFunc(s.boxes, same)
	s.byEmail[box.Email] = slices.DeleteFunc(s.byEmail[box.Email], same)
	if len(s.byEmail[box.Email]) == 0 {
		delete(s.byEmail, box.Email)
	}
	s.journal.Append(func() record { return record{Gone: id} })
}

// page returns a part of the mailboxes whose address holds the filter and
// which were created no later than the given time, and how many there are.
func (s *store) page(filter string, before time.Time, from, size int) (out []Mailbox, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, box := range s.boxes {
		if box.CreatedAt.After(before) || !strings.Contains(box.Email, filter) {
			continue
		}
		if total >= from && len(out) < size {
			out = append(out, *box)
		}
		total++
	}
	return out, total
}

// Summary returns the totals.
func (s *Server) Summary() Summary {
	out := Summary{Calls: map[string]map[string]int{}}
	out.MostPerMinute, out.Refused = s.pace.figures()
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for op, by := range s.store.calls {
		out.Calls[op] = maps.Clone(by)
	}
	out.Mailboxes, out.Addresses, out.ForeignTokens = len(s.store.byID), len(s.store.byEmail), s.store.foreign
	for _, posts := range s.store.posts {
		if created(posts) > 1 {
			out.CreatedTwice++
		}
		if again(posts) {
			out.PostedAgain++
		}
	}
	return out
}

func created(posts []Post) int {
	n := 0
	for _, p := range posts {
		if p.Created {
			n++
		}
	}
	return n
}

// again reports whether a POST followed one whose success was delivered.
func again(posts []Post) bool {
	i := slices.IndexFunc(posts, func(p Post) bool { return p.ID != 0 && p.Delivered })
	return i >= 0 && i < len(posts)-1
}

// Posts returns every POST for an address, oldest first.
func (s *Server) Posts(address string) []Post {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return slices.Clone(s.store.posts[strings.ToLower(address)])
}

// Mailboxes returns the mailboxes of an address, or all of them for "".
func (s *Server) Mailboxes(address string) []Mailbox {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	from := s.store.boxes
	if address != "" {
		from = s.store.byEmail[strings.ToLower(address)]
	}
	out := make([]Mailbox, len(from))
	for i, box := range from {
		out[i] = *box
	}
	return out
}

// CreatedTwice returns the addresses that more than one POST created, sorted.
func (s *Server) CreatedTwice() []string {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var out []string
	for address, posts := range s.store.posts {
		if created(posts) > 1 {
			out = append(out, address)
		}
	}
	slices.Sort(out)
	return out
}
