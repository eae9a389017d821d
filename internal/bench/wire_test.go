package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnAnswerThatIsNoSuccessOrNoJSONIsAnError(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/words":
			_, _ = w.Write([]byte("not JSON"))
		default:
			_, _ = w.Write([]byte(`{"method":"` + r.Method + `","type":"` + r.Header.Get("Content-Type") + `"}`))
		}
	}))
	t.Cleanup(server.Close)
	for path, want := range map[string]string{"/busy": "/busy answers 503", "/words": "decode the answer of /words", "/": ""} {
		var got struct{ Method, Type string }
		err := askJSON(t.Context(), server.Client(), http.MethodPost, server.URL+path, map[string]int{"n": 1}, &got)
		switch {
		case want == "" && (err != nil || got.Method != http.MethodPost || got.Type != "application/json"):
			t.Errorf("%s: %+v, %v", path, got, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if err := askJSON(t.Context(), server.Client(), http.MethodGet, server.URL+"/words", nil, nil); err != nil {
		t.Errorf("an answer that nobody wants is judged: %v", err)
	}
}
