//go:build unix

package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestNoCoreFileMayBeWritten(t *testing.T) {
	t.Parallel()
	nothing(io.Discard, plainText()).run(func(context.Context, Env) error { return nil })
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("core files: %+v, %v", limit, err)
	}
}

// playing is the variable that makes this test's binary play a process of its own.
const playing = "SERVICE_TEST_PLAYS"

// TestARealProcess is what the other process runs; by itself it does nothing.
func TestARealProcess(t *testing.T) {
	t.Parallel()
	play := os.Getenv(playing)
	if play == "" {
		return
	}
	Main("player", func(ctx context.Context, env Env) error {
		_, _ = fmt.Fprintln(env.Stdout, "running")
		switch play {
		case "obedient":
			<-ctx.Done()
			return ctx.Err()
		case "stubborn":
			select {}
		default:
			return WithExit(ExitConfig, errors.New("no settings"))
		}
	})
}

func TestARealProcessEndsAsItShould(t *testing.T) {
	t.Parallel()
	for play, c := range map[string]struct {
		signals int
		want    int
		says    string
	}{
		"obedient": {1, ExitOK, "stopping"},
		"stubborn": {2, ExitFailed, "stopped at once"},
		"broken":   {0, ExitConfig, "player: no settings"},
	} {
		t.Run(play, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestARealProcess$")
			cmd.Env = append(os.Environ(), playing+"="+play, EnvLogFormat+"=text")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			talk, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "running\n" {
				t.Errorf("first line %q, %v", line, err)
			}
			heard := hear(t, cmd.Process, bufio.NewReader(talk), c.signals)
			_ = cmd.Wait() // the exit code is looked at
			if got := cmd.ProcessState.ExitCode(); got != c.want || !strings.Contains(heard, c.says) {
				t.Errorf("exit %d, want %d; it said:\n%s", got, c.want, heard)
			}
		})
	}
}

// hear sends signals, each after the process answered the one before, and returns all that it said.
func hear(t *testing.T, p *os.Process, talk *bufio.Reader, signals int) string {
	t.Helper()
	var heard strings.Builder
	for range signals {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		line, err := talk.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		heard.WriteString(line)
	}
	rest, err := io.ReadAll(talk)
	if err != nil {
		t.Fatal(err)
	}
	heard.Write(rest)
	return heard.String()
}
