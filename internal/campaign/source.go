package campaign

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"hash"
	"io"
	"syscall"
)

var (
	errTooLarge  = errors.New("file too large")
	errRecordCap = errors.New("row too long")
)

// meter bounds what the CSV reader can pull from the source: in total, and per
// row. Without the second bound one line without end would be gathered whole in
// memory before encoding/csv could say anything about it.
type meter struct {
	src   io.Reader
	sum   hash.Hash
	total int64
	left  int   // bytes the current row may still take
	err   error // first failure other than io.EOF; it stays
}

func newMeter(src io.Reader) *meter {
	return &meter{src: src, sum: sha256.New(), left: maxRecord}
}

func (m *meter) Read(p []byte) (int, error) {
	if m.err == nil && m.left <= 0 {
		m.err = errRecordCap
	}
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.src.Read(p[:min(len(p), m.left)])
	m.left -= n
	m.total += int64(n)
	m.sum.Write(p[:n])
	if m.total > MaxBytes {
		m.err = errTooLarge
		return 0, m.err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

// refusal words a failed read of the row after line.
func refusal(err error, line int) *FileError {
	if pe, ok := errors.AsType[*csv.ParseError](err); ok {
		return &FileError{Problem: parseNote(pe).at(pe.StartLine, "")}
	}
	switch {
	case errors.Is(err, errTooLarge):
		return &FileError{Problem: note{"too_large", "the file is larger than 50 MiB", "split it into several campaigns"}.at(0, "")}
	case errors.Is(err, errRecordCap):
		return &FileError{Problem: note{
			"row_too_long", "the row is longer than 64 KiB",
			"close the quote it opens, or end each row with a line break",
		}.at(line+1, "")}
	case errors.Is(err, syscall.EISDIR):
		return &FileError{note{"directory", "this is a directory", "name the CSV file inside it"}.at(0, ""), err}
	}
	return &FileError{note{"unreadable", "the file cannot be read to its end", "check that it exists and may be read, then import it again"}.at(0, ""), err}
}

func parseNote(pe *csv.ParseError) note {
	switch {
	case errors.Is(pe.Err, csv.ErrFieldCount):
		return note{"ragged", "the row has more or fewer values than the header", "quote values that contain a comma, and fill missing ones with nothing between two commas"}
	case errors.Is(pe.Err, csv.ErrBareQuote):
		return note{"bare_quote", "there is a quote inside an unquoted value", "put the whole value in quotes and double the quotes inside it"}
	default:
		return note{"quote", "a quoted value is not closed, or text follows its closing quote", "close the quote, and double the quotes inside a quoted value"}
	}
}

func utf8BOM() []byte { return []byte("\xEF\xBB\xBF") }

// sniff looks at the first bytes of a file and says what it is if it is not a
// CSV in UTF-8. What it lets pass can still fail as a header.
func sniff(head []byte) note {
	if len(head) == 0 {
		return note{"empty", "the file is empty", "give it a header and at least one row"}
	}
	for _, check := range []func([]byte) note{sniffEncoding, sniffFormat, sniffDialect} {
		if n := check(head); n.code != "" {
			return n
		}
	}
	return note{}
}

func sniffEncoding(head []byte) note {
	switch {
	case wide(head, 4):
		return note{"utf32", "the file is in UTF-32", "save it as CSV UTF-8"}
	case wide(head, 2):
		return note{"utf16", "the file is in UTF-16", "save it as CSV UTF-8"}
	}
	return note{}
}

// sniffFormat comes before the search for NUL bytes, which most formats hold.
func sniffFormat(head []byte) note {
	head = bytes.TrimLeft(head, " \t\r\n")
	for _, known := range [][2]string{
		{"\x1F\x8B", "a gzip archive"},
		{"BZh", "a bzip2 archive"},
		{"\xFD7zXZ", "an xz archive"},
		{"\x28\xB5\x2F\xFD", "a zstd archive"},
		{"PK\x03\x04", "an Excel workbook or a zip archive"},
		{"PK\x05\x06", "an empty zip archive"},
		{"\xD0\xCF\x11\xE0", "an old Excel workbook"},
		{"%PDF", "a PDF document"},
		{"<", "an HTML or XML page"},
		{"{", "a JSON document"},
		{"[", "a JSON document"},
	} {
		if bytes.HasPrefix(head, []byte(known[0])) {
			return note{"not_csv", "this is " + known[1] + ", not a CSV", "export it as CSV in UTF-8, with commas"}
		}
	}
	return note{}
}

func sniffDialect(head []byte) note {
	switch {
	case bytes.IndexByte(head, 0) >= 0:
		return note{"nul", "the file holds a NUL byte", "it is not text; save it as CSV UTF-8"}
	case bytes.HasPrefix(bytes.ToLower(head), []byte("sep=")):
		return note{"sep", "the first line is a sep= line", "remove that line and separate with commas"}
	case bytes.IndexByte(head, '\r') >= 0 && bytes.IndexByte(head, '\n') < 0 && !bytes.HasSuffix(head, []byte("\r")):
		return note{"bare_cr", "the lines end with a bare carriage return", "save it with LF or CRLF line ends"}
	}
	return note{}
}

// wide reports whether the text has units of size bytes: by its byte order
// mark, or because its first letters are each padded with zeros.
func wide(head []byte, size int) bool {
	marks := map[int][]string{2: {"\xFF\xFE", "\xFE\xFF"}, 4: {"\xFF\xFE\x00\x00", "\x00\x00\xFE\xFF"}}
	for _, mark := range marks[size] {
		if bytes.HasPrefix(head, []byte(mark)) {
			return true
		}
	}
	if len(head) < 2*size {
		return false
	}
	zeros := make([]byte, size-1)
	little, big := true, true
	for unit := head[:2*size]; len(unit) > 0; unit = unit[size:] {
		little = little && unit[0] != 0 && bytes.Equal(unit[1:size], zeros)
		big = big && unit[size-1] != 0 && bytes.Equal(unit[:size-1], zeros)
	}
	return little || big
}
