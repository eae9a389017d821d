package cli

import (
	"bytes"
	"io"
)

// rows counts the lines that pass. As an array it turns JSON lines into one JSON document, without holding them.
type rows struct {
	to    io.Writer
	array bool
	lines int

	started, between bool
}

// Write passes p on.
func (r *rows) Write(p []byte) (int, error) {
	r.lines += bytes.Count(p, []byte("\n"))
	if !r.array {
		return r.to.Write(p)
	}
	var out bytes.Buffer
	for _, c := range p {
		switch {
		case c == '\n':
			r.between = r.started
			continue
		case !r.started:
			out.WriteByte('[')
		case r.between:
			out.WriteString(",\n")
		}
		r.started, r.between = true, false
		out.WriteByte(c)
	}
	if _, err := r.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end closes the document, if it is one.
func (r *rows) end() error {
	if !r.array {
		return nil
	}
	closing := "]\n"
	if !r.started {
		closing = "[]\n"
	}
	_, err := io.WriteString(r.to, closing)
	return err
}
