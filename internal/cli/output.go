package cli

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kindling/internal/campaign"
)

const (
	formatTable = "table"
	formatJSON  = "json"
	formatJSONL = "jsonl"
	formatCSV   = "csv"
)

func checkFormat(format string) error {
	known := []string{formatTable, formatJSON, formatJSONL, formatCSV}
	if !slices.Contains(known, format) {
		return usage(errors.New("the output is one of " + strings.Join(known, ", ")))
	}
	return nil
}

// sheet is data in all its forms. The JSON forms are those of the API.
type sheet struct {
	header []string
	rows   [][]string
	value  any   // as JSON
	items  []any // as JSON lines; nil: value alone
}

// print writes data to standard output in the chosen form.
func (s *shell) print(d sheet) error {
	out := bufio.NewWriter(s.env.Stdout)
	var err error
	switch s.output {
	case formatJSON:
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(d.value)
	case formatJSONL:
		items := d.items
		if items == nil {
			items = []any{d.value}
		}
		enc := json.NewEncoder(out)
		for _, item := range items {
			err = errors.Join(err, enc.Encode(item))
		}
	case formatCSV:
		err = writeCSV(out, d)
	default:
		s.writeTable(out, d)
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func writeCSV(w io.Writer, d sheet) error {
	out := csv.NewWriter(w)
	if err := out.Write(d.header); err != nil {
		return err
	}
	for _, row := range d.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = campaign.Cell(cell)
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

const gap = 2 // blanks between columns

// writeTable aligns the columns. Nothing in a cell can move the cursor.
func (s *shell) writeTable(w *bufio.Writer, d sheet) {
	widths := make([]int, len(d.header))
	lines := append([][]string{upper(d.header)}, d.rows...)
	for n, row := range lines {
		clean := make([]string, len(row))
		for i, cell := range row {
			clean[i] = plain(cell)
			widths[i] = max(widths[i], utf8.RuneCountInString(clean[i]))
		}
		lines[n] = clean
	}
	for n, row := range lines {
		for i, cell := range row {
			text := s.paint(cell, n == 0)
			if i < len(row)-1 {
				text += strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+gap)
			}
			_, _ = w.WriteString(text) // Flush tells
		}
		_ = w.WriteByte('\n') // Flush tells
	}
}

func upper(cells []string) []string {
	loud := make([]string, len(cells))
	for i, c := range cells {
		loud[i] = strings.ToUpper(strings.ReplaceAll(c, "_", " "))
	}
	return loud
}

// paint colours what an operator looks for.
func (s *shell) paint(cell string, head bool) string {
	if !s.colour {
		return cell
	}
	var code string
	switch {
	case head:
		code = "1"
	case slices.Contains([]string{"registered", "open", "done", "ok"}, cell):
		code = "32"
	case slices.Contains([]string{"needs_consent", "unclear", "probing", "waiting", "stopped", "warn"}, cell):
		code = "33"
	case slices.Contains([]string{"dead", "mismatch", "held", "fail"}, cell):
		code = "31"
	default:
		return cell
	}
	return "\x1b[" + code + "m" + cell + "\x1b[0m"
}

// plain spells out what a terminal would obey.
func plain(cell string) string {
	if !strings.ContainsFunc(cell, hidden) {
		return cell
	}
	var b strings.Builder
	for _, c := range cell {
		if hidden(c) {
			quoted := strconv.QuoteRuneToASCII(c)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

func hidden(c rune) bool {
	return unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp)
}

// moment prints a time for people.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
