package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"kindling/internal/secret"
)

// maxSecret is above the longest token of anyone.
const maxSecret = 64 << 10

// Secret says where a secret is, without holding it: files are read when a role asks, each time anew, so that a
// rotated secret is seen without a restart. The zero value is a secret that was not given.
type Secret struct {
	key    string
	where  string
	files  []string
	inline []secret.Text
}

// Inline makes a Secret of texts at hand, for configurations that are built and not loaded.
func Inline(texts ...secret.Text) Secret { return Secret{inline: texts} }

// Given reports whether there is anything to read.
func (s Secret) Given() bool { return len(s.files)+len(s.inline) > 0 }

// Files are the files to watch for a rotation.
func (s Secret) Files() []string { return append([]string(nil), s.files...) }

// Read returns the secrets in the order in which they are to be tried, none if none was given. Its error is an *Invalid
// that names files, never their content; on an error the caller keeps what it had.
func (s Secret) Read() ([]secret.Text, error) {
	var found problems
	texts := s.read(&found, nil)
	if err := found.err(); err != nil {
		return nil, err
	}
	return texts, nil
}

// One returns the single secret, the first if there are several, empty if none was given.
func (s Secret) One() (secret.Text, error) {
	texts, err := s.Read()
	if err != nil || len(texts) == 0 {
		return secret.Text{}, err
	}
	return texts[0], nil
}

// read collects what is wrong and, if warn is set, what is unwise.
func (s Secret) read(wrong, warn *problems) []secret.Text {
	texts := append([]secret.Text(nil), s.inline...)
	for _, path := range s.files {
		text, bad := readSecret(path)
		if bad != nil {
			wrong.add(Problem{Key: s.fileKey(path), Value: harmless(path), Reason: bad.reason, Remedy: bad.remedy})
			continue
		}
		texts = append(texts, text)
		if warn != nil && worldReadable(path) {
			warn.add(Problem{Key: s.fileKey(path), Value: harmless(path), Reason: "every user of this host can read the file", Remedy: "chmod 600"})
		}
	}
	if warn != nil && strings.HasSuffix(s.key, "client_secret") {
		s.warnOfIDs(texts, warn)
	}
	return texts
}

// fileKey tells several files of one key apart, so that each is reported.
func (s Secret) fileKey(path string) string {
	for i, f := range s.files {
		if f == path && i > 0 {
			return fmt.Sprintf("%s_file[%d]", s.key, i)
		}
	}
	return s.key + "_file"
}

// warnOfIDs catches the most common slip in Azure: the id of a secret is copied from the column beside its value.
func (s Secret) warnOfIDs(texts []secret.Text, warn *problems) {
	for _, t := range texts {
		if guidForm.MatchString(t.Reveal()) {
			warn.add(Problem{Key: s.key, Where: s.where, Reason: "looks like the secret's id, not its value", Remedy: "copy the column \"Value\"; if it is hidden, make a new secret"})
		}
	}
}

// readSecret returns the content of a file without one newline at its end.
func readSecret(path string) (secret.Text, *note) {
	data, bad := read(path, maxSecret)
	if bad != nil {
		return secret.Text{}, bad
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	value := string(data)
	if bad := judgeSecret(value); bad != nil {
		return secret.Text{}, bad
	}
	return secret.New(value), nil
}

// judgeSecret refuses what is a slip of copying. It must never quote value.
func judgeSecret(value string) *note {
	switch {
	case strings.TrimSpace(value) == "":
		return &note{"the secret is empty", "write the secret into it, or leave the key out"}
	case strings.ContainsAny(value, "\r\n"):
		return &note{"the secret has more than one line", "keep the line with the secret alone"}
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return &note{"the secret has control signs or is not UTF-8", "save it as plain text"}
	case strings.TrimSpace(value) != value:
		return &note{"the secret begins or ends with a blank", "remove the blank"}
	case quoted(value):
		return &note{"the secret stands in quotation marks", "remove them"}
	}
	return nil
}

func quoted(value string) bool {
	return len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0]
}

func worldReadable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
