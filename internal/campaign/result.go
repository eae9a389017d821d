package campaign

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// maxCell is the longest exported cell, in characters: what a refused row holds
// may be anything.
const maxCell = 1024

// Result is what became of one row.
type Result struct {
	Line       int    // line of the imported file; 0: unknown
	Email      string // may be a refused row's text
	ExternalID string
	App        string
	Account    string
	Status     string // state of the mailbox, or refused or skipped
	Link       string // consent link, if there is one to hand out
	Reason     string // why the mailbox is not (yet) registered
	Remedy     string // what to do about it
}

// Refused gives the result of a row that was not imported: its first problem,
// and how many more there are.
func Refused(row Row) Result {
	res := Result{
		Line: row.Line, Email: row.Email, ExternalID: row.ExternalID,
		App: row.App, Account: row.Account, Status: "refused",
	}
	if row.Duplicate() {
		res.Status = "skipped"
	}
	for i, p := range row.Problems {
		if i > 0 {
			res.Reason, res.Remedy = res.Reason+"; ", res.Remedy+"; "
		}
		res.Reason += p.Column + ": " + p.Reason
		res.Remedy += p.Remedy
	}
	return res
}

// Writer streams results as a CSV (RFC 4180) that is safe to open in a
// spreadsheet. Nothing may be written after an error.
type Writer struct {
	csv    *csv.Writer
	headed bool
}

// NewWriter writes to w. The header comes with the first result or with Flush.
func NewWriter(w io.Writer) *Writer {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	return &Writer{csv: c}
}

// Write adds one row.
func (w *Writer) Write(res Result) error {
	if err := w.head(); err != nil {
		return err
	}
	line := ""
	if res.Line > 0 {
		line = strconv.Itoa(res.Line)
	}
	record := []string{line, res.Email, res.ExternalID, res.App, res.Account, res.Status, res.Link, res.Reason, res.Remedy}
	for i, cell := range record {
		record[i] = Cell(cell)
	}
	if err := w.csv.Write(record); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// Flush writes what is buffered. It must end the writing, also of no result.
func (w *Writer) Flush() error {
	if err := w.head(); err != nil {
		return err
	}
	w.csv.Flush()
	if err := w.csv.Error(); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

func (w *Writer) head() error {
	if w.headed {
		return nil
	}
	w.headed = true
	header := []string{"row", "email", "external_id", "app", "account", "status", "link", "reason", "remedy"}
	if err := w.csv.Write(header); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	return nil
}

// Cell makes a value harmless in a spreadsheet: what would begin a formula gets
// a leading apostrophe, what would move the cursor or hide text is spelt out,
// and an overlong value is cut. Every CSV we export goes through it.
func Cell(value string) string {
	guard := startsFormula(value)
	if strings.ContainsFunc(value, unprintable) {
		value = spellOut(value)
	}
	if guard {
		value = "'" + value
	}
	if len(value) <= maxCell {
		return value
	}
	if runes := []rune(value); len(runes) > maxCell {
		return string(runes[:maxCell-1]) + "…"
	}
	return value
}

// startsFormula also looks behind leading spaces, which some spreadsheets drop,
// and knows the full-width forms that some of them fold.
func startsFormula(value string) bool {
	value = strings.TrimLeft(value, " \u00a0")
	first := strings.IndexAny(value, "=+-@\t\r\n＝＋－＠")
	return first == 0
}

func unprintable(c rune) bool {
	return unicode.IsControl(c) || misleading(c) || c == unicode.ReplacementChar
}

func spellOut(value string) string {
	var b strings.Builder
	for _, c := range value {
		if !unprintable(c) {
			b.WriteRune(c)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(c)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// Template gives an example file with every column, that imports as it is.
func Template() []byte {
	var b bytes.Buffer
	b.WriteString(strings.Join(knownNames(), ",") + "\r\n")
	b.WriteString("ada.keller@harbor-analytics.example,Ada Keller,,,,,fast,crm-1001\r\n")
	b.WriteString("\"bruno.lindt@harbor-analytics.example\",\"Lindt, Bruno\",main,main,harbor-analytics.example,41,medium,crm-1002\r\n")
	return b.Bytes()
}
