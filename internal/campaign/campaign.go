// Package campaign reads the CSV an operator imports and writes the CSV he gets back.
//
// It exists so that the whole judgement of a file (is it a CSV at all, is each
// row something we may act on, what should the operator do about it) is one
// pure, streaming piece of code that the console, the command line and the demo
// share. It promises: memory that does not grow with the file beyond 16 bytes
// and a line number per accepted row; every refusal in fixed words that never
// repeat what the file says; and no cell in the result that a spreadsheet would
// run as a formula.
//
// What needs stored state (is this mailbox erased, already invited, of another
// tenant) is decided by the caller, who refuses such a row with [Row.Refuse].
package campaign

// Limits of one file. They bound what an upload can cost; an operator with more
// rows splits the file into several campaigns.
const (
	// MaxBytes is the largest file, in bytes.
	MaxBytes = 50 << 20
	// MaxRows is the largest number of rows, the header and empty rows not counted.
	MaxRows = 200_000
	// MaxField is the longest single value, in bytes.
	MaxField = 4 << 10
	// maxRecord bounds one row with its quotes and line breaks, in bytes: twice
	// what the columns may hold together. An unclosed quote or a file without line
	// ends stops here instead of filling the memory.
	maxRecord = 64 << 10
	// maxText is the longest from_name and external_id, in bytes: they are kept in
	// records that must stay small.
	maxText = 256
)

// Defaults are the values of a campaign for the columns a row leaves empty.
// The zero value has none, so that every row must bring its own.
type Defaults struct {
	App              string `json:"app"`                 // name of an app registration
	Account          string `json:"account"`             // name of a Warmy account
	Tenant           string `json:"tenant,omitempty"`    // Microsoft tenant; empty: that of the app
	TariffPlanTypeID int    `json:"tariff_plan_type_id"` // Warmy's id; 0: none
	// TariffPlan stands before TariffPlanTypeID: an id, or the name of a plan, as the column takes them. Empty: none.
	TariffPlan string `json:"tariff_plan,omitempty"`
	SpeedMode  string `json:"speed_mode"` // slow, medium or fast
}

// Rules are what a file is read against. The zero value accepts every
// well-formed name, plan and domain, and has no defaults.
type Rules struct {
	Defaults Defaults
	// Apps and Accounts are the configured names; nil accepts any well-formed one.
	Apps, Accounts []string
	// Plans are what Warmy offers the accounts, by their names. Of an account without known plans any id is accepted, and
	// no name.
	Plans map[string]Plans
	// AllowedDomains limits the addresses: "a.example" means that domain alone,
	// "*.a.example" every domain below it; nil allows all.
	AllowedDomains []string
	// SHA256 is the expected digest of the file in hexadecimal; empty: not checked.
	// It can only be compared at the end, after all rows were handed out.
	SHA256 string
}

// Row is one row of the file, its values trimmed, defaults filled in.
type Row struct {
	Line             int    // line of the file as an editor counts, the header being 1
	Email            string // lower case; as given when it was refused
	FromName         string // may be any text: escape it where it is shown
	App, Account     string // configured spelling
	Tenant           string // lower-case GUID or domain; may be empty
	TariffPlanTypeID int
	SpeedMode        string
	ExternalID       string
	Problems         []Problem // why the row must not be imported
	Warnings         []Problem // what the operator may want to look at
}

// Usable reports whether the row may be imported.
func (r *Row) Usable() bool { return len(r.Problems) == 0 }

// Duplicate reports whether the row repeats an earlier one and is to be skipped.
func (r *Row) Duplicate() bool {
	return len(r.Problems) == 1 && r.Problems[0].Code == Duplicate
}

// Refuse notes a refusal that depends on stored state (see About).
func (r *Row) Refuse(code Code) { r.Problems = append(r.Problems, About(code, r.Line)) }

func (r *Row) refuse(column string, n note) {
	if n.code != "" {
		r.Problems = append(r.Problems, n.at(r.Line, column))
	}
}

func (r *Row) warn(column string, n note) {
	if n.code != "" {
		r.Warnings = append(r.Warnings, n.at(r.Line, column))
	}
}
