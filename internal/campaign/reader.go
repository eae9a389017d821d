package campaign

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Reader hands out the rows of a campaign file one by one. It is not safe for
// concurrent use.
type Reader struct {
	meter   *meter
	buffer  *bufio.Reader
	csv     *csv.Reader
	rules   ruleset
	header  []string
	at      layout
	started bool
	line    int // of the row read last
	rows    int
	seen    map[[16]byte]int32 // row identity → line of its first appearance
	scratch []byte
	err     error // io.EOF or *FileError; it stays
}

// Read prepares to read r. Nothing is read before Header or Next.
func Read(r io.Reader, rules Rules) *Reader {
	m := newMeter(r)
	b := bufio.NewReaderSize(m, 4096) // encoding/csv takes a buffer of this size over as it is
	c := csv.NewReader(b)
	c.ReuseRecord = true
	return &Reader{meter: m, buffer: b, csv: c, rules: newRuleset(rules), seen: map[[16]byte]int32{}}
}

// Header gives the names of the columns in the order of the file, or a
// *FileError.
func (r *Reader) Header() ([]string, error) {
	r.start()
	if r.header == nil {
		return nil, r.err
	}
	return slices.Clone(r.header), nil
}

// Next gives the next row, usable or not. At the end it gives io.EOF. A
// *FileError ends the reading for good; it can come after many good rows, so a
// caller that must not act on half a file surveys it first (see Survey).
func (r *Reader) Next() (Row, error) {
	r.start()
	for r.err == nil {
		record := r.record()
		if r.err != nil || blank(record) {
			continue
		}
		if r.rows++; r.rows > MaxRows {
			r.err = &FileError{Problem: note{"too_many_rows", "the file has more than 200,000 rows", "split it into several campaigns"}.at(r.line, "")}
			continue
		}
		return r.row(record), nil
	}
	return Row{}, r.err
}

// Sum gives the SHA-256 of what was read, in hexadecimal. It is that of the file
// once Next has given io.EOF.
func (r *Reader) Sum() string { return hex.EncodeToString(r.meter.sum.Sum(nil)) }

func (r *Reader) start() {
	if r.started {
		return
	}
	r.started = true
	head, err := r.buffer.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = refusal(err, 0)
		return
	}
	if bytes.HasPrefix(head, utf8BOM()) {
		_, _ = r.buffer.Discard(len(utf8BOM())) // just seen in the buffer: it cannot fail
		head = head[len(utf8BOM()):]
	}
	if n := sniff(head); n.code != "" {
		r.err = &FileError{Problem: n.at(0, "")}
		return
	}
	r.readHeader()
}

func (r *Reader) readHeader() {
	record := r.record()
	if errors.Is(r.err, io.EOF) {
		r.err = &FileError{Problem: sniff(nil).at(0, "")} // nothing but line ends
	}
	if r.err != nil {
		return
	}
	names, at, fe := readHeader(record, r.line)
	if fe != nil {
		r.err = fe
		return
	}
	r.header, r.at = names, at
}

// record reads one record and checks that it is text. On failure it sets err.
func (r *Reader) record() []string {
	r.meter.left = maxRecord
	record, err := r.csv.Read()
	switch {
	case err == nil:
	case r.meter.err != nil: // the parser's complaint about a cut-off row is only a consequence
		r.err = refusal(r.meter.err, r.line)
		return nil
	case errors.Is(err, io.EOF):
		r.err = r.end()
		return nil
	default:
		r.err = refusal(err, r.line)
		return nil
	}
	r.line, _ = r.csv.FieldPos(0)
	for i, field := range record {
		if n := notText(field); n.code != "" {
			r.err = &FileError{Problem: n.at(r.line, r.name(i))}
			return nil
		}
	}
	return record
}

func (r *Reader) name(i int) string {
	if i < len(r.header) {
		return r.header[i]
	}
	return ""
}

// end decides what the end of the input means.
func (r *Reader) end() error {
	switch {
	case r.header == nil:
		return io.EOF
	case r.rows == 0:
		return &FileError{Problem: note{"no_rows", "there is a header but no row", "add at least one row"}.at(0, "")}
	case r.rules.sum != "" && r.rules.sum != r.Sum():
		return &FileError{Problem: note{"checksum", "the file's checksum is not the expected one", "it was changed or cut on its way; fetch it again"}.at(0, "")}
	}
	return io.EOF
}

// row turns a record into a judged row.
func (r *Reader) row(record []string) Row {
	row := r.rules.judge(r.at, record, r.line)
	if row.Usable() {
		r.once(&row)
	}
	return row
}

// once refuses a row whose address and app were accepted before. Rows that were
// refused do not count: a corrected copy further down may take their place.
func (r *Reader) once(row *Row) {
	r.scratch = append(append(append(r.scratch[:0], row.App...), 0), row.Email...)
	sum := sha256.Sum256(r.scratch)
	key := [16]byte(sum[:16])
	if first, ok := r.seen[key]; ok {
		row.refuse("email", repeats(int(first)))
		return
	}
	r.seen[key] = int32(row.Line) //nolint:gosec // a file of 50 MiB has fewer lines than 2^31
}

func notText(field string) note {
	switch {
	case !utf8.ValidString(field):
		return note{"invalid_utf8", "the text is not valid UTF-8", "save it as CSV UTF-8"}
	case strings.IndexByte(field, 0) >= 0:
		return note{"nul", "the file holds a NUL byte", "it is not text; save it as CSV UTF-8"}
	}
	return note{}
}

// blank reports an empty row, as spreadsheets leave them below the data.
func blank(record []string) bool {
	for _, field := range record {
		if strings.TrimSpace(field) != "" {
			return false
		}
	}
	return true
}
