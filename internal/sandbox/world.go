// Package sandbox puts Kindling into a small world of its own: simulators of Microsoft and Warmy, a configuration that
// points at them, and a crowd of owners. The demo and `kindling up --sandbox` live in it.
//
// It promises that nothing in it leaves this machine, and that the pipeline in it is the real one: the same wiring, the
// same store, the same HTTP.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/service"
	"kindling/internal/sim/msid"
	"kindling/internal/sim/warmyapi"
)

// The credentials of the sandbox. They open nothing outside it.
const (
	ClientID     = "5a4db0c5-0000-4000-8000-6b696e646c65"
	ClientSecret = "sandbox-client-secret-7f3a"
	APIKey       = "sandbox-api-key-91c2" //nolint:gosec // as above
)

// World is a simulated Microsoft and a simulated Warmy, listening on this machine.
type World struct {
	Microsoft *msid.Server
	Warmy     *warmyapi.Server

	microsoft, warmy net.Listener
}

// WorldOptions say what the world is like.
type WorldOptions struct {
	MicrosoftListen string // host:port; port 0 takes any
	WarmyListen     string
	RedirectURI     string // that the app is registered with
	CallsPerMinute  int    // of the Warmy account; 0: Warmy's own 60
	Latency         time.Duration
	Seed            uint64
	Users           []msid.User // accounts that are more than their address; any other address is a plain account
	State           string      // directory in which both simulators remember what exists; empty: they forget it at the end
}

// NewWorld opens the listeners of both simulators, and what they remember. Serve then answers on them.
func NewWorld(ctx context.Context, o WorldOptions) (*World, error) {
	ms, err := service.Listen(ctx, o.MicrosoftListen)
	if err != nil {
		return nil, fmt.Errorf("simulated Microsoft: %w", err)
	}
	wa, err := service.Listen(ctx, o.WarmyListen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("simulated Warmy: %w", err), ms.Close())
	}
	w := &World{microsoft: ms, warmy: wa}
	if err := w.open(o); err != nil {
		return nil, errors.Join(err, ms.Close(), wa.Close())
	}
	return w, nil
}

func (w *World) open(o WorldOptions) (err error) {
	w.Microsoft, err = msid.Open(msid.Config{
		Apps:    []msid.App{{ClientID: ClientID, Secrets: []string{ClientSecret}, RedirectURIs: []string{o.RedirectURI}}},
		BaseURL: w.MicrosoftURL(), Latency: o.Latency, Jitter: o.Latency / 2, Seed: o.Seed, Users: o.Users, Switches: msid.Switches{RequirePKCE: true, RevokeOnReplay: true},
		Journal: o.journal("microsoft"),
	})
	if err != nil {
		return fmt.Errorf("simulated Microsoft: %w", err)
	}
	w.Warmy, err = warmyapi.Open(warmyapi.Config{
		APIKeys: []string{APIKey}, Latency: o.Latency, Jitter: o.Latency / 2, Seed: o.Seed,
		// A second POST makes a second mailbox: the worst that Warmy might do, so that a double registration cannot hide.
		Switches: warmyapi.Switches{CallsPerMinute: o.CallsPerMinute, Duplicate: warmyapi.DuplicateSecond, RetryAfter: "auto"},
		Inspect:  func(access, _ string) (string, bool) { return w.Microsoft.Owner(access) },
		Journal:  o.journal("warmy"),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("simulated Warmy: %w", err), w.Microsoft.Close())
	}
	return nil
}

func (o WorldOptions) journal(name string) string {
	if o.State == "" {
		return ""
	}
	return filepath.Join(o.State, name+".jsonl")
}

// MicrosoftURL is the base address of the simulated Microsoft.
func (w *World) MicrosoftURL() string { return "http://" + w.microsoft.Addr().String() }

// WarmyURL is the base address of the simulated Warmy.
func (w *World) WarmyURL() string { return "http://" + w.warmy.Addr().String() }

// Serve answers until ctx ends, and then closes what the simulators remember.
func (w *World) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for listener, handler := range map[net.Listener]http.Handler{w.microsoft: w.Microsoft, w.warmy: w.Warmy} {
		group.Go(func() error {
			err := service.Serve(ctx, service.NewHTTPServer(handler), listener)
			if errors.Is(err, service.ErrCutOff) {
				return nil
			}
			return err
		})
	}
	return errors.Join(group.Wait(), w.Microsoft.Close(), w.Warmy.Close())
}
