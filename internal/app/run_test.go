package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kindling/internal/config"
)

func TestAProcessThatIsToldToStopIsUnreadyWhileItStillWorks(t *testing.T) {
	t.Parallel()
	h := NewHost(config.Config{}, slog.New(slog.DiscardHandler))
	h.Config.Metrics.Listen = freeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	began, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, h, func(context.Context, Host) error {
			close(began)
			<-release
			return nil
		})
	}()
	<-began
	awaitReadyz(t, h.Config.Metrics.Listen, http.StatusOK, "ok")
	stop()
	awaitReadyz(t, h.Config.Metrics.Listen, http.StatusServiceUnavailable, "stopping")
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("run ended with %v", err)
	}
}

func TestTheFailureOfOneProcessEndsTheOthers(t *testing.T) {
	t.Parallel()
	failure := errors.New("broken")
	h := NewHost(config.Config{}, slog.New(slog.DiscardHandler))
	err := run(t.Context(), h,
		func(context.Context, Host) error { return failure },
		func(ctx context.Context, _ Host) error { <-ctx.Done(); return nil })
	if !errors.Is(err, failure) {
		t.Errorf("run ended with %v", err)
	}
}

func TestHTTPIsServedUntilItsNoticeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		served, end := delayed(ctx, time.Second)
		defer end()
		stop()
		told := time.Now()
		<-served.Done()
		if took := time.Since(told); took != time.Second {
			t.Errorf("served for %v after the stop", took)
		}
	})
}

func awaitReadyz(t *testing.T, address string, status int, word string) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		code, body := readyz(t, address)
		if code == status && strings.HasPrefix(body, word) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("/readyz answers %d %q, not %d %q", code, body, status, word)
		}
	}
}

func readyz(t *testing.T, address string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Two workers in containers of one host name can both have process number 1.
func TestNoTwoOwnersAreAlike(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		seen[owner()] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d names for 100 owners", len(seen))
	}
}
