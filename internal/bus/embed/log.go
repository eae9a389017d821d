package embed

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

func setListen(cfg *server.Options, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen address of NATS: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("port of NATS: %w", err)
	}
	cfg.Host, cfg.Port = host, number
	if number == 0 {
		cfg.Port = server.RANDOM_PORT
	}
	return nil
}

// logger passes on what an operator must know; the server's notices are of no interest inside another program.
type logger struct {
	log   *slog.Logger
	heard func(message string) // called with every error
}

func (l logger) Noticef(format string, v ...any) {
	l.log.Debug("nats_server", "notice", fmt.Sprintf(format, v...))
}

func (l logger) Warnf(format string, v ...any) {
	l.log.Warn("nats_server", "warning", fmt.Sprintf(format, v...))
}

func (l logger) Errorf(format string, v ...any) {
	message := fmt.Sprintf(format, v...)
	l.log.Error("nats_server", "error", message)
	l.heard(message)
}

func (l logger) Fatalf(format string, v ...any) {
	l.log.Error("nats_server", "fatal", fmt.Sprintf(format, v...))
}

func (l logger) Debugf(format string, v ...any) {
	l.log.Debug("nats_server", "debug", fmt.Sprintf(format, v...))
}

func (l logger) Tracef(format string, v ...any) {
	l.log.Debug("nats_server", "trace", fmt.Sprintf(format, v...))
}
