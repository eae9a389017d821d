package cli

import (
	"fmt"
	"io"
	"time"
)

// meter tells how far something is: on a terminal several times a second on one line, elsewhere a line every few seconds.
type meter struct {
	shell *shell
	what  string
	total int64
	done  int64
	told  time.Time
	shown bool
}

const (
	tellTerminal = 200 * time.Millisecond
	tellLines    = 5 * time.Second
)

func (s *shell) newMeter(what string, total int64) *meter {
	return &meter{shell: s, what: what, total: total, told: time.Now()}
}

func (m *meter) reader(r io.Reader) io.Reader { return &meteredReader{r, m} }

type meteredReader struct {
	io.Reader

	meter *meter
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.meter.set(r.meter.done+int64(n), "")
	return n, err
}

// set notes how much is done, and says so when it is time.
func (m *meter) set(done int64, note string) {
	m.done = done
	every := tellLines
	if m.shell.progress {
		every = tellTerminal
	}
	if time.Since(m.told) < every {
		return
	}
	m.told = time.Now()
	text := fmt.Sprintf("%s %d", m.what, done)
	if m.total > 0 {
		text = fmt.Sprintf("%s %d of %d (%d %%)", m.what, done, m.total, done*100/m.total)
	}
	if note != "" {
		text += ", " + note
	}
	if m.shell.progress {
		m.shown = true
		_, _ = fmt.Fprintf(m.shell.env.Stderr, "\r\x1b[K%s", text) // nobody is left to be told
		return
	}
	m.shell.say("%s", text)
}

// end clears the line.
func (m *meter) end() {
	if m.shown {
		_, _ = fmt.Fprint(m.shell.env.Stderr, "\r\x1b[K") // nobody is left to be told
	}
}
