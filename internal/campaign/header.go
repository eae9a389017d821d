package campaign

import (
	"strconv"
	"strings"
)

// Columns of a campaign file, in the order of the template.
const (
	colEmail = iota
	colFromName
	colApp
	colAccount
	colTenant
	colTariff
	colSpeed
	colExternalID
	columns
)

func columnNames() [columns]string {
	return [columns]string{"email", "from_name", "app", "account", "tenant", "tariff_plan_type_id", "speed_mode", "external_id"}
}

// layout says at which position of a record each column stands, or -1.
type layout [columns]int

// readHeader checks the first row and gives its names and their places.
func readHeader(record []string, line int) ([]string, layout, *FileError) {
	names := make([]string, len(record))
	at := layout{}
	for i := range at {
		at[i] = -1
	}
	for i, cell := range record {
		names[i] = canonical(cell)
		col, n := judgeName(names[i], at)
		if n.code != "" {
			return nil, at, &FileError{Problem: n.at(line, "column "+strconv.Itoa(i+1))}
		}
		at[col] = i
	}
	if at[colEmail] < 0 {
		return nil, at, &FileError{Problem: note{
			"no_email_column", "there is no email column",
			"name the columns in the first row; one must be email",
		}.at(line, "")}
	}
	return names, at, nil
}

// canonical folds what spreadsheets and people do to a column's name.
func canonical(cell string) string {
	return strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(cell)))
}

func judgeName(name string, at layout) (int, note) {
	for col, known := range columnNames() {
		if name != known {
			continue
		}
		if at[col] >= 0 {
			return 0, note{"duplicate_column", "the column " + known + " stands there twice", "remove one of the two"}
		}
		return col, note{}
	}
	return 0, strangeName(name)
}

// strangeName explains a name that is none of ours. It never repeats the name:
// in a file without a header that would be an address, or a password.
func strangeName(name string) note {
	switch {
	case name == "":
		return note{"unnamed_column", "the column has no name", "name it, or remove it and the commas that make it"}
	case strings.ContainsAny(name, ";"):
		return note{"semicolons", "the values are separated by semicolons", "export it with commas"}
	case strings.ContainsAny(name, "\t"):
		return note{"tabs", "the values are separated by tabs", "export it with commas"}
	case strings.ContainsAny(name, "|"):
		return note{"pipes", "the values are separated by bars", "export it with commas"}
	case strings.ContainsAny(name, "\r"):
		return note{"bare_cr", "the lines end with a bare carriage return", "save it with LF or CRLF line ends"}
	case strings.Contains(name, "@") && !strings.Contains(name, "__"):
		return note{"no_header", "the first row is an address, not a header", "put the names of the columns in the first row; one must be email"}
	case secretName(name):
		return note{"secret_column", "the column holds passwords or tokens", "delete it: owners give consent themselves, and secrets are never imported"}
	}
	if near := nearest(name); near != "" {
		return note{"unknown_column", "the column is unknown", "did you mean " + near + "?"}
	}
	return note{"unknown_column", "the column is unknown", "remove it, or use one of " + strings.Join(knownNames(), ", ")}
}

func knownNames() []string {
	names := columnNames()
	return names[:]
}

// secretName also knows lines of the form address----password----token, whose
// dashes canonical has turned into underscores.
func secretName(name string) bool {
	for _, word := range []string{"password", "passwd", "pwd", "passphrase", "secret", "token", "api_key", "apikey", "private_key", "____"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// nearest gives the column that was probably meant, or nothing.
func nearest(name string) string {
	switch name {
	case "mail", "e_mail", "address", "email_address", "mailbox", "user", "upn":
		return "email"
	case "name", "display_name", "full_name", "sender", "sender_name":
		return "from_name"
	case "app_ref", "application", "client":
		return "app"
	case "tenant_id", "directory":
		return "tenant"
	case "tariff", "tariff_plan", "tariff_id", "tariff_plan_id", "plan":
		return "tariff_plan_type_id"
	case "speed", "mode":
		return "speed_mode"
	case "id", "ref", "reference", "external":
		return "external_id"
	}
	return closest(name, knownNames())
}

// closest gives the candidate at most two edits from a lower-case name, or nothing.
func closest(name string, candidates []string) string {
	best, found := 3, ""
	for _, c := range candidates {
		if d := distance(name, strings.ToLower(c)); d < best {
			best, found = d, c
		}
	}
	return found
}

// distance is Levenshtein's; names too long to be near anything are not measured.
func distance(a, b string) int {
	if len(a) > len(b)+2 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			step := diagonal
			if a[i] != b[j] {
				step++
			}
			diagonal = row[j+1]
			row[j+1] = min(step, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
