package campaign

import (
	"errors"
	"io"
)

// maxProblems is how many problems a summary keeps in full: enough for a
// screen; the result CSV lists all.
const maxProblems = 200

// Summary is what a dry run says about a file.
type Summary struct {
	Rows       int          `json:"rows"`
	Usable     int          `json:"usable"`
	Refused    int          `json:"refused"`
	Duplicates int          `json:"duplicates"` // skipped, not counted as refused
	Warned     int          `json:"warned"`     // usable rows with a warning
	ByCode     map[Code]int `json:"by_code"`    // problems and warnings
	Problems   []Problem    `json:"problems"`   // the first 200, in the order of the file
	SHA256     string       `json:"sha256"`     // of the whole file
}

// Survey reads everything that is left and imports nothing: the dry run. A
// *FileError comes with the summary of the rows before it. accept, if not nil, is
// asked about every usable row and may Refuse it.
func Survey(r *Reader, accept func(*Row)) (Summary, error) {
	s := Summary{ByCode: map[Code]int{}}
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			s.SHA256 = r.Sum()
			return s, nil
		}
		if err != nil {
			return s, err
		}
		if accept != nil && row.Usable() {
			accept(&row)
		}
		s.count(row)
	}
}

func (s *Summary) count(row Row) {
	s.Rows++
	switch {
	case row.Duplicate():
		s.Duplicates++
	case !row.Usable():
		s.Refused++
	default:
		s.Usable++
		s.Warned += min(len(row.Warnings), 1)
	}
	s.keep(row.Problems)
	s.keep(row.Warnings)
}

func (s *Summary) keep(problems []Problem) {
	for _, p := range problems {
		s.ByCode[p.Code]++
		if len(s.Problems) < maxProblems {
			s.Problems = append(s.Problems, p)
		}
	}
}
