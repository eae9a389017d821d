// Package service is the shell around every process: it owns signals, logs, exit codes,
// health, metrics and the life of HTTP servers, so that a main is one line and the rest of
// the program can be called from a test with a map for the environment.
//
// It promises that a first SIGINT or SIGTERM cancels the context and a second one ends the
// process at once, that nothing reaches the log without passing the redacting handler, that
// no core file is written, and that only this package touches the process itself.
package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Env is all that a process sees of its surroundings.
type Env struct {
	Args    []string            // the command line without the program's name
	Getenv  func(string) string // one environment variable, "" when absent
	Environ func() []string     // all of them, as name=value
	Stdin   io.Reader
	Stdout  io.Writer // data
	Stderr  io.Writer // talk and logs
	Log     *slog.Logger
}

// Main runs a process called name and ends it with the exit code of run's error.
// The context given to run ends with the first SIGINT or SIGTERM; an error that then only
// says "canceled" is an orderly stop.
func Main(name string, run func(context.Context, Env) error) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	p := process{
		name:    name,
		signals: signals,
		abort:   os.Exit,
		ready:   slog.SetDefault, // net/http and friends log through the redacting handler too
		env: Env{
			Args:    os.Args[1:],
			Getenv:  os.Getenv,
			Environ: os.Environ,
			Stdin:   os.Stdin,
			Stdout:  os.Stdout,
			Stderr:  os.Stderr,
		},
	}
	os.Exit(p.run(run))
}

// process is Main without the process, for tests.
type process struct {
	name    string
	signals <-chan os.Signal
	abort   func(code int)     // called on the second signal
	ready   func(*slog.Logger) // called once the logger exists
	env     Env
}

// run calls body and returns the exit code.
func (p process) run(body func(context.Context, Env) error) int {
	log, err := newLogger(p.name, p.env)
	if err != nil {
		p.say(err.Error())
		return ExitCode(err)
	}
	p.env.Log = log
	p.ready(log)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	limitProcess(ctx, log)

	done := make(chan struct{})
	stopped := make(chan bool, 1)
	go func() { stopped <- p.watch(ctx, cancel, done) }()
	err = body(ctx, p.env)
	close(done)
	bySignal := <-stopped

	if bySignal && err != nil && onlyCanceled(err) {
		return ExitOK
	}
	p.report(ctx, err)
	return ExitCode(err)
}

// watch turns the first signal into a cancelled context and the second into an exit.
// It returns when done is closed, and says whether a signal came.
func (p process) watch(ctx context.Context, cancel context.CancelFunc, done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	case s := <-p.signals:
		p.env.Log.InfoContext(ctx, "stopping", "signal", s.String())
		cancel()
	}
	select {
	case <-done:
	case s := <-p.signals:
		p.env.Log.WarnContext(ctx, "stopped at once", "signal", s.String())
		p.abort(ExitFailed)
	}
	return true
}

// report tells the operator why the process ends. An error without words has been told
// already; JSON logs get a record for each line, everyone else gets the lines.
func (p process) report(ctx context.Context, err error) {
	if err == nil || err.Error() == "" {
		return
	}
	if logFormat(p.env) == formatJSON {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			p.env.Log.ErrorContext(ctx, "ended", "error", line, "exit", ExitCode(err))
		}
		return
	}
	p.say(scrub(err.Error()))
}

// say writes to the operator's terminal. When even that is gone, nobody is left to tell.
func (p process) say(text string) { _, _ = fmt.Fprintf(p.env.Stderr, "%s: %s\n", p.name, text) }
