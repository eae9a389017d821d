package mailbox

import "time"

// Campaign is one imported CSV. The console alone writes it.
type Campaign struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	App       string    `json:"app"`     // default of its rows
	Account   string    `json:"account"` // default of its rows
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	SHA256    string    `json:"sha256"`  // of the file, to recognise a second import
	Rows      int       `json:"rows"`    // read
	Invited   int       `json:"invited"` // new mailboxes
	Known     int       `json:"known"`   // were invited before, those put right by a later import included
	Refused   int       `json:"refused"` // rows with a problem
}
