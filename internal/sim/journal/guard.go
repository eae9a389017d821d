package journal

import "net/http"

// Guard wraps a server that appends what it does before it answers: once the
// journal has failed, no answer leaves any more, because its change might be
// forgotten. The call that met the failure loses its connection, later ones
// are answered 503.
func (j *Journal[R]) Guard(next http.Handler) http.Handler {
	if j == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := j.Err(); err != nil {
			http.Error(w, "simulator: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(guarded{ResponseWriter: w, failed: j.Err}, r)
	})
}

// guarded is an answer that is cut off instead of sent after a failure.
type guarded struct {
	http.ResponseWriter
	failed func() error
}

// WriteHeader sends the head of the answer.
func (g guarded) WriteHeader(status int) {
	g.check()
	g.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the answer.
func (g guarded) Write(p []byte) (int, error) {
	g.check()
	return g.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController flush and hijack.
func (g guarded) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g guarded) check() {
	if g.failed() != nil {
		panic(http.ErrAbortHandler)
	}
}
