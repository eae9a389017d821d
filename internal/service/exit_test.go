package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"kindling/internal/config"
)

// nothing is a process that sees no arguments and the given environment.
func nothing(stderr io.Writer, environ map[string]string) process {
	return process{
		name: "test", signals: make(chan os.Signal), abort: func(int) {}, ready: func(*slog.Logger) {},
		env: Env{Getenv: func(name string) string { return environ[name] }, Stderr: stderr},
	}
}

func plainText() map[string]string { return map[string]string{EnvLogFormat: "text"} }

func TestErrorsBecomeExitCodes(t *testing.T) {
	t.Parallel()
	_, invalid := config.Load(config.Source{File: "/nonexistent/kindling.yaml"})
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"nothing wrong":            {nil, ExitOK},
		"any error":                {errors.New("x"), ExitFailed},
		"partly":                   {WithExit(ExitPartly, errors.New("x")), 3},
		"usage":                    {WithExit(ExitUsage, errors.New("x")), 64},
		"data":                     {WithExit(ExitData, errors.New("x")), 65},
		"unavailable":              {WithExit(ExitUnavailable, errors.New("x")), 69},
		"permission":               {WithExit(ExitPermission, errors.New("x")), 77},
		"configuration":            {invalid, 78},
		"wrapped":                  {fmt.Errorf("step: %w", WithExit(ExitData, errors.New("x"))), 65},
		"joined":                   {errors.Join(errors.New("y"), WithExit(ExitData, errors.New("x"))), 65},
		"the outer of two":         {WithExit(ExitData, WithExit(ExitUsage, errors.New("x"))), 65},
		"cancelled without signal": {context.Canceled, ExitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ExitCode(c.err); got != c.want {
				t.Errorf("ExitCode() = %d, want %d", got, c.want)
			}
			run := func(context.Context, Env) error { return c.err }
			if got := nothing(io.Discard, plainText()).run(run); got != c.want {
				t.Errorf("run() = %d, want %d", got, c.want)
			}
		})
	}
}

func TestAMarkedErrorKeepsItsWordsAndItsChain(t *testing.T) {
	t.Parallel()
	if WithExit(ExitData, nil) != nil {
		t.Error("WithExit(nil) is an error")
	}
	err := WithExit(ExitData, fmt.Errorf("read: %w", io.ErrUnexpectedEOF))
	if err.Error() != "read: unexpected EOF" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error = %v", err)
	}
}

func TestASignalIsAnOrderlyStop(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost a record")
	for name, c := range map[string]struct {
		err  func(ctx context.Context) error
		want int
	}{
		"nil":                   {func(context.Context) error { return nil }, ExitOK},
		"cancelled":             {func(ctx context.Context) error { return ctx.Err() }, ExitOK},
		"cancelled, wrapped":    {func(ctx context.Context) error { return fmt.Errorf("serve: %w", ctx.Err()) }, ExitOK},
		"cancelled, twice":      {func(ctx context.Context) error { return errors.Join(ctx.Err(), ctx.Err()) }, ExitOK},
		"a failure on the way":  {func(context.Context) error { return lost }, ExitFailed},
		"a failure beside it":   {func(ctx context.Context) error { return errors.Join(ctx.Err(), lost) }, ExitFailed},
		"unavailable beside it": {func(ctx context.Context) error { return errors.Join(ctx.Err(), WithExit(69, lost)) }, ExitUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signals := make(chan os.Signal, 2)
			p := nothing(io.Discard, plainText())
			p.signals = signals
			got := p.run(func(ctx context.Context, _ Env) error {
				signals <- syscall.SIGTERM
				<-ctx.Done()
				return c.err(ctx)
			})
			if got != c.want {
				t.Errorf("run() = %d, want %d", got, c.want)
			}
		})
	}
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	signals, aborted := make(chan os.Signal, 2), make(chan int, 1)
	p := nothing(io.Discard, plainText())
	p.signals = signals
	p.abort = func(code int) { aborted <- code }
	code := -1
	p.run(func(ctx context.Context, _ Env) error {
		signals <- os.Interrupt
		<-ctx.Done()
		signals <- os.Interrupt
		code = <-aborted // a handler that does not end by itself
		return nil
	})
	if code != ExitFailed {
		t.Errorf("aborted with %d, want %d", code, ExitFailed)
	}
}

func TestTheEndIsToldInTheFormOfTheLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		format string
		err    error
		want   string
	}{
		"plain":              {"text", errors.New(`get "https://x.example/a?code=canary": refused`), `test: get "https://x.example/a?***": refused` + "\n"},
		"plain, many lines":  {"text", errors.New("one\ntwo"), "test: one\ntwo\n"},
		"told already":       {"text", WithExit(ExitPartly, errors.New("")), ""},
		"nothing":            {"text", nil, ""},
		"a record":           {"json", WithExit(ExitData, errors.New("x")), `"msg":"ended","process":"test","error":"x","exit":65}` + "\n"},
		"a record per line":  {"json", errors.New("one\ntwo"), `"error":"two","exit":1}` + "\n"},
		"a record, redacted": {"json", errors.New("Bearer canary-canary"), `"error":"Bearer ***","exit":1}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			nothing(&stderr, map[string]string{EnvLogFormat: c.format}).run(func(context.Context, Env) error { return c.err })
			if got := stderr.String(); !strings.HasSuffix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("stderr = %q, want it to end in %q", got, c.want)
			}
		})
	}
}
