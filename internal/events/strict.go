package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

const (
	// deepest bounds the nesting, far above any event of ours.
	deepest = 16
	// mostFields bounds the fields of one object.
	mostFields = 256
)

// errName means that a field has a name that no version of ours has given it.
var errName = errors.New("a field's name is not of lower-case letters, digits and _")

// DecodeStrict decodes one JSON object. It refuses what encoding/json lets pass or mends in silence: bad UTF-8, anything
// but an object, a field that stands twice (the last would win), a field in other letters (it would be taken for ours),
// and nesting that no event of ours has. ErrNewer comes before a complaint about names or types: a newer version may have
// changed them.
func DecodeStrict(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	data = bytes.Trim(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' {
		return errors.New("not a JSON object")
	}
	names := checkFields(data)
	if names != nil && !errors.Is(names, errName) {
		return names
	}
	if err := json.Unmarshal(data, into); err != nil || names != nil {
		if newer := checkVersion(data); newer != nil {
			return newer
		}
		return errors.Join(names, err)
	}
	return nil
}

// checkVersion returns ErrNewer when data says that it is of a version that this build cannot read.
func checkVersion(data []byte) error {
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil || head.Version <= Version {
		return nil //nolint:nilerr // whoever asks has an error of his own
	}
	return fmt.Errorf("version %d: %w", head.Version, ErrNewer)
}

// checkFields looks at the names of every object's fields. What is no JSON passes: the decoder refuses it.
func checkFields(data []byte) error {
	walk := fieldWalk{names: make([][]byte, 0, 32), starts: make([]int, 0, deepest)}
	for i := 0; i < len(data); i++ {
		var err error
		switch data[i] {
		case '{', '[':
			err = walk.open()
		case '}', ']':
			walk.closed()
		case '"':
			end := endOfString(data, i)
			if isName(data, end) {
				err = walk.name(data[i+1 : end])
			}
			i = end
		}
		if err != nil {
			return err
		}
	}
	return walk.misnamed
}

// fieldWalk keeps the names of all objects that are open.
type fieldWalk struct {
	names    [][]byte
	starts   []int // where each open object's or array's names begin
	misnamed error // the first bad name; what is worse is reported first
}

func (w *fieldWalk) open() error {
	if len(w.starts) == deepest {
		return errors.New("nested too deeply")
	}
	w.starts = append(w.starts, len(w.names))
	return nil
}

func (w *fieldWalk) closed() {
	if last := len(w.starts) - 1; last >= 0 {
		w.names, w.starts = w.names[:w.starts[last]], w.starts[:last]
	}
}

func (w *fieldWalk) name(name []byte) error {
	if len(w.starts) == 0 {
		return nil
	}
	own := w.names[w.starts[len(w.starts)-1]:]
	if len(own) == mostFields {
		return errors.New("too many fields")
	}
	for _, other := range own {
		if bytes.Equal(other, name) {
			return errors.New("a field stands twice")
		}
	}
	if w.misnamed == nil && !isFieldName(name) {
		w.misnamed = errName
	}
	w.names = append(w.names, name)
	return nil
}

// isFieldName refuses escapes, too: two spellings of one name would pass for two names.
func isFieldName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}

// endOfString returns where the string that begins at start ends: at its closing quote or at the end of data.
func endOfString(data []byte, start int) int {
	for i := start + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(data)
}

// isName reports whether the string that ends at end is a field's name: a colon follows it.
func isName(data []byte, end int) bool {
	for i := end + 1; i < len(data); i++ {
		switch data[i] {
		case ' ', '\t', '\r', '\n':
		default:
			return data[i] == ':'
		}
	}
	return false
}
