package campaign

import "time"

// Plan is a tariff plan of a Warmy account. Its id differs from account to account; its name is Warmy's text.
type Plan struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// Plans are the tariff plans of one account as they were at a time. The zero value says that they are not known.
type Plans struct {
	LookedUp time.Time `json:"looked_up,omitzero"`
	List     []Plan    `json:"plans,omitempty"`
}

// Known tells whether Warmy was asked.
func (p Plans) Known() bool { return !p.LookedUp.IsZero() }
