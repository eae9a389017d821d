package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The oldest NATS server that has what Kindling uses: schedules and atomic batches. The level is what a server says of
// its JetStream; in a cluster it is that of the server that leads.
const (
	leastServer   = "2.12.0"
	leastAPILevel = 2
)

// checkVersion refuses a server that is older than leastServer. A version that is no number is judged by the level alone.
func checkVersion(seen string, level int) error {
	older, known := olderThan(seen, leastServer)
	if known && !older && level >= leastAPILevel {
		return nil
	}
	if !known && level >= leastAPILevel {
		return nil
	}
	return unfit(
		fmt.Sprintf("the NATS server is version %s with JetStream level %d, and Kindling needs %s with level %d",
			cmp.Or(seen, "unknown"), level, leastServer, leastAPILevel),
		"update the servers, all of a cluster")
}

// olderThan compares two versions by their three numbers; a pre-release comes before its release. It also reports whether
// both could be read.
func olderThan(seen, least string) (older, known bool) {
	a, aPre, ok := numbers(seen)
	b, bPre, ok2 := numbers(least)
	if !ok || !ok2 {
		return false, false
	}
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i], true
		}
	}
	return aPre && !bPre, true
}

func numbers(version string) (n [3]int, pre, ok bool) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "+")
	version, _, pre = strings.Cut(version, "-")
	parts := strings.Split(version, ".")
	if len(parts) != len(n) {
		return n, pre, false
	}
	for i, part := range parts {
		var err error
		if n[i], err = strconv.Atoi(part); err != nil || n[i] < 0 {
			return n, pre, false
		}
	}
	return n, pre, true
}

// unfit is one reason for which Kindling must not work on this store.
func unfit(what, remedy string) error {
	return &UnfitError{[]Finding{{Unsafe, what, remedy}}}
}

// checkServer refuses a server on which Kindling cannot work.
func checkServer(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) error {
	info, err := js.AccountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return unfit("JetStream is not enabled for this NATS account", "give the account of nats.creds_file JetStream, or name another user")
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		// It may be on its way: a server that starts, a cluster whose other half is away, a disk that was full.
		return fmt.Errorf("no JetStream answers at %s: %w (a server has it with a jetstream section in its configuration; its log tells when it gave it up)",
			nc.ConnectedUrlRedacted(), ErrUnavailable)
	case err != nil:
		return fmt.Errorf("ask JetStream for its account: %w", err)
	}
	return checkVersion(nc.ConnectedServerVersion(), info.API.Level)
}

// The error codes of the server for a stream that it cannot make, where nats.go has no name for them.
const (
	codeAccountLimit        = 10002
	codeNoPeers             = 10005
	codeInsufficient        = 10023
	codeStreamLimit         = 10027
	codeStorageExceeded     = 10047
	codeSubjectsOverlap     = 10065
	codeReplicasUnsupported = 10074
	codeStreamTooLarge      = 10122
)

// refusal puts the server's no to a new stream into words, with a remedy.
func refusal(err error, want streamConfig) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return err
	}
	switch int(api.ErrorCode) {
	case codeReplicasUnsupported:
		return unfit(fmt.Sprintf("nats.replicas is %d, and the NATS server is no cluster", want.Replicas), "write nats.replicas: 1, or connect to the cluster")
	case codeSubjectsOverlap:
		return unfit("another stream takes "+strings.Join(want.Subjects, " or "), "find it with nats stream ls --subjects and remove it, or give Kindling an account of its own")
	case codeStorageExceeded, codeAccountLimit, codeStreamLimit, codeStreamTooLarge:
		return unfit(fmt.Sprintf("the server has no room for the stream %s of at most %s: %s", want.Name, size(want.MaxBytes), api.Description),
			"raise max_file_store of the server or the account's limits; docs/operator/manual.md has the sizes")
	case codeNoPeers, codeInsufficient:
		return fmt.Errorf("%w: the cluster has no room on %d servers now: %w", ErrUnavailable, want.Replicas, err)
	}
	return err
}

// size prints a number of bytes for people.
func size(bytes int64) string {
	const mib = 1 << 20
	if bytes >= gib {
		return strconv.FormatFloat(float64(bytes)/gib, 'f', -1, 64) + " GiB"
	}
	return strconv.FormatInt(bytes/mib, 10) + " MiB"
}
