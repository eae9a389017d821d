package warmyapi

import (
	"errors"
	"slices"
)

// record is one line of the journal; exactly one field is set. Sessions, rules,
// switches, counts and the calls of the last minute are not remembered, nor are
// POSTs that met no mailbox.
type record struct {
	// Box is a mailbox as it is from now on.
	Box *boxRecord `json:"box,omitempty"`
	// Gone is the id of a mailbox that was deleted.
	Gone int64 `json:"gone,omitempty"`
	// Last is the highest id ever given: none may come twice.
	Last int64 `json:"last,omitempty"`
	// Post is an entry of the ledger.
	Post *postRecord `json:"post,omitempty"`
}

type boxRecord struct {
	Mailbox
	// Tokens is the mailbox's Owner, which no answer shows.
	Tokens string `json:"tokens,omitempty"`
}

type postRecord struct {
	Post
	Email string `json:"email"`
}

// cutOff is the outcome of a POST that created a mailbox and whose process was
// killed before the answer.
const cutOff = "cut_off"

func boxed(box Mailbox) record { return record{Box: &boxRecord{Mailbox: box, Tokens: box.Owner}} }

// apply does what a line of the journal says. Nobody else uses the store yet.
func (s *store) apply(r record) error {
	switch {
	case r.Box != nil:
		s.restore(r.Box)
	case r.Gone != 0:
		s.remove(r.Gone)
	case r.Last != 0:
		s.next = max(s.next, r.Last)
	case r.Post != nil:
		s.posts[r.Post.Email] = append(s.posts[r.Post.Email], r.Post.Post)
	default:
		return errors.New("unknown record")
	}
	return nil
}

func (s *store) restore(r *boxRecord) {
	box := r.Mailbox
	box.Owner = r.Tokens
	if old, ok := s.byID[box.ID]; ok {
		*old = box
		return
	}
	s.next = max(s.next, box.ID)
	s.insert(&box)
}

// remains yields what a restart must know, as short as can be. The ledger of an
// address without a mailbox is forgotten.
func (s *store) remains(yield func(record) bool) {
	if !yield(record{Last: s.next}) {
		return
	}
	for _, box := range s.boxes {
		s.admit(box)
		if !yield(boxed(*box)) {
			return
		}
	}
	for email, posts := range s.posts {
		if len(s.byEmail[email]) == 0 {
			delete(s.posts, email)
			continue
		}
		for _, post := range posts {
			if !yield(record{Post: &postRecord{Email: email, Post: post}}) {
				return
			}
		}
	}
}

// admit enters the POST of a mailbox whose process was killed before the ledger
// had it, so that a second one counts as the second.
func (s *store) admit(box *Mailbox) {
	known := func(p Post) bool { return p.Created && p.ID == box.ID }
	if !slices.ContainsFunc(s.posts[box.Email], known) {
		s.posts[box.Email] = append(s.posts[box.Email], Post{At: box.CreatedAt, ID: box.ID, Created: true, Outcome: cutOff})
	}
}
