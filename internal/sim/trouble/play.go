package trouble

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Reply is the true answer of a server, before trouble gets at it.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON returns a reply whose body is the JSON form of v.
func JSON(status int, v any) Reply {
	body, err := json.Marshal(v)
	if err != nil {
		return Reply{Status: http.StatusInternalServerError, Body: []byte("simulator: " + err.Error())}
	}
	return Reply{Status: status, Body: body, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
}

// Text returns a plain-text reply.
func Text(status int, body string) Reply {
	return Reply{Status: status, Body: []byte(body), Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}}
}

// Write sends the reply as it is.
func (a Reply) Write(w http.ResponseWriter) {
	a.head(w)
	_, _ = w.Write(a.Body)
}

func (a Reply) head(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.Header)
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
}

// Play answers the call as the rule has it; truth is what the server would
// have said. The zero Rule sends the truth. The request's body must have been
// read, or a hanging call would not notice that its client is gone.
func (r Rule) Play(w http.ResponseWriter, req *http.Request, truth Reply) {
	switch r.Kind {
	case Reset:
		reset(w)
	case Hang:
		r.hang(req.Context())
		reset(w)
	case Drip:
		r.drip(w, req, truth)
	case Truncate:
		truncate(w, truth)
	case Huge:
		r.huge(w)
	case Bomb:
		r.bomb(w)
	default:
		r.replace(truth).Write(w)
	}
}

// replace returns the answer of the kinds that leave the transport alone.
func (r Rule) replace(truth Reply) Reply {
	switch r.Kind {
	case Answer:
		reply := Text(r.Status, r.Body)
		if strings.HasPrefix(r.Body, "{") || strings.HasPrefix(r.Body, "[") {
			reply.Header.Set("Content-Type", "application/json; charset=utf-8")
		}
		for k, v := range r.Header {
			reply.Header.Set(k, v)
		}
		return reply
	case Throttled:
		reply := Text(http.StatusTooManyRequests, "Too Many Requests")
		if r.RetryAfter != "" {
			reply.Header.Set("Retry-After", r.RetryAfter)
		}
		return reply
	case ServerError:
		return JSON(http.StatusInternalServerError, map[string]any{"status": 500, "error": "Internal Server Error"})
	case BadGateway:
		reply := Text(http.StatusBadGateway, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"+
			"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
		reply.Header.Set("Content-Type", "text/html")
		return reply
	case Redirect:
		return r.redirect()
	case Bend:
		return r.bend(truth)
	default:
		return truth
	}
}

// bend changes the top-level fields of a successful JSON answer.
func (r Rule) bend(truth Reply) Reply {
	fields := map[string]json.RawMessage{}
	if truth.Status >= http.StatusMultipleChoices || json.Unmarshal(truth.Body, &fields) != nil {
		return truth
	}
	maps.Copy(fields, r.Set)
	for _, name := range r.Drop {
		delete(fields, name)
	}
	bent := JSON(truth.Status, fields)
	bent.Header = truth.Header
	return bent
}

func (r Rule) redirect() Reply {
	reply := Reply{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {TrapPath}}}
	if r.Value != "" {
		reply.Header.Set("Location", r.Value)
	}
	if r.Status != 0 {
		reply.Status = r.Status
	}
	return reply
}

// reset closes the connection with RST, so that the client sees an error and
// not an empty answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (r Rule) hang(ctx context.Context) {
	if r.Delay > 0 {
		Wait(ctx, time.Duration(r.Delay))
		return
	}
	<-ctx.Done()
}

func (r Rule) drip(w http.ResponseWriter, req *http.Request, truth Reply) {
	pause := time.Duration(r.Delay)
	if pause == 0 {
		pause = time.Second
	}
	if len(truth.Body) == 0 {
		truth = JSON(http.StatusOK, map[string]string{"message": strings.Repeat(".", 100)})
	}
	truth.head(w)
	out := http.NewResponseController(w)
	for i := range truth.Body {
		if _, err := w.Write(truth.Body[i : i+1]); err != nil || out.Flush() != nil {
			return
		}
		Wait(req.Context(), pause)
	}
}

func truncate(w http.ResponseWriter, truth Reply) {
	if len(truth.Body) == 0 {
		truth = Text(http.StatusOK, strings.Repeat(".", 100))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(truth.Body)))
	truth.head(w)
	_, _ = w.Write(truth.Body[:len(truth.Body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func (r Rule) bytes() int64 {
	if r.Size > 0 {
		return r.Size
	}
	return 100 << 20
}

func (r Rule) huge(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	fill := bytes.Repeat([]byte("simulator "), 6554)
	body := io.MultiReader(strings.NewReader(`{"message":"`), io.LimitReader(&endless{fill: fill}, r.bytes()), strings.NewReader(`"}`))
	_, _ = io.Copy(w, body)
}

func (r Rule) bomb(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	zip := gzip.NewWriter(w)
	_, _ = io.Copy(zip, io.LimitReader(&endless{fill: make([]byte, 1<<16)}, r.bytes()))
	_ = zip.Close()
}

// endless repeats one block for ever.
type endless struct{ fill []byte }

func (e *endless) Read(p []byte) (int, error) { return copy(p, e.fill), nil }
