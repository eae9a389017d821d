package warmy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// identifier returns an id's text, or "" for what cannot be one.
func identifier(value any) string {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil && n > 0 && n < math.MaxInt64 {
			return strconv.FormatInt(n, 10)
		}
	case string:
		if isID(v) {
			return v
		}
	}
	return ""
}

// isID reports whether s may stand in a path: no separator, nothing that a URL would change, not zero.
func isID(s string) bool {
	if s == "" || len(s) > 64 || strings.Trim(s, "0") == "" || s[0] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// parse reads one JSON object, and only that: trailing text, a key given twice or broken UTF-8 make the whole
// answer doubtful.
func parse(body []byte) (map[string]any, bool) {
	if !utf8.Valid(body) || !singular(body) {
		return nil, false
	}
	var document map[string]any
	if unmarshal(body, &document) != nil || document == nil {
		return nil, false
	}
	return document, true
}

// errTrailing refuses text after a document.
var errTrailing = errors.New("text after the document")

// unmarshal reads one document without rounding its numbers: an id must not lose digits.
func unmarshal(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err // only its presence counts
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// singular reports whether body is JSON in which no object has a key twice: encoding/json would silently take the last.
func singular(body []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	type level struct {
		keys  map[string]bool // nil in a list
		value bool            // the next token is a value
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].keys != nil {
			at := &levels[n-1]
			if key, _ := token.(string); !at.value && at.keys[key] {
				return false
			} else if !at.value {
				at.keys[key], at.value = true, true
				continue
			}
			at.value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{keys: make(map[string]bool)})
		case json.Delim('['):
			levels = append(levels, level{})
		}
	}
}
