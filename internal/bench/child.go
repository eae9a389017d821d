package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// child is this very program in a process of its own, so that its work and its memory are not counted as ours. It ends
// at the latest with us: by a signal, or because its standard input ends.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder // what it says, as JSON
}

// startChild runs `kindling bench ARGS…` and reads the first thing it says into ready.
func startChild(ctx context.Context, ready any, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"bench"}, args...)...) //nolint:gosec // this very program
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr, cmd.Env = os.Stderr, append(os.Environ(), "KINDLING_LOG=error") //nolint:forbidigo // passed on as it is
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	c := &child{cmd: cmd, in: in, out: json.NewDecoder(out)}
	if err := c.out.Decode(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", args[0], err), c.stop())
	}
	return c, nil
}

// ask sends a line and reads the answer.
func (c *child) ask(answer any) error {
	if _, err := fmt.Fprintln(c.in); err != nil {
		return fmt.Errorf("ask a process of our own: %w", err)
	}
	if err := c.out.Decode(answer); err != nil {
		return fmt.Errorf("ask a process of our own: %w", err)
	}
	return nil
}

func (c *child) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // gone already: Wait says so
	err := c.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() <= 0 {
		return nil
	}
	return err
}

// untilOrphaned returns a context that ends with ctx, and when our standard input does: then our parent is gone.
func untilOrphaned(ctx context.Context, in io.Reader) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, in)
	}()
	return ctx, stop
}
