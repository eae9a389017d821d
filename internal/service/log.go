package service

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
)

// The environment variables of the log. They are no part of kindling.yaml, because the log
// must exist before the file is read.
const (
	// EnvLog sets the level: debug, info (the default), warn or error.
	EnvLog = "KINDLING_LOG"
	// EnvLogFormat sets the form: json or text; without it a terminal gets text, all else JSON.
	EnvLogFormat = "KINDLING_LOG_FORMAT"
)

const (
	formatJSON = "json"
	formatText = "text"
)

// newLogger builds the process's logger on standard error, redacted and marked with name.
func newLogger(name string, env Env) (*slog.Logger, error) {
	level, levelErr := logLevel(env.Getenv(EnvLog))
	format := logFormat(env)
	var formatErr error
	if format != formatJSON && format != formatText {
		formatErr = errors.New(EnvLogFormat + " is neither json nor text")
	}
	if err := errors.Join(levelErr, formatErr); err != nil {
		return nil, WithExit(ExitConfig, err)
	}
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(env.Stderr, opts)
	if format == formatText {
		h = slog.NewTextHandler(env.Stderr, opts)
	}
	return slog.New(Redact(h)).With("process", name), nil
}

func logLevel(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "", "info":
		return slog.LevelInfo, nil
	case "debug":
		return slog.LevelDebug, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	default:
		return 0, errors.New(EnvLog + " is none of debug, info, warn and error")
	}
}

func logFormat(env Env) string {
	if f := env.Getenv(EnvLogFormat); f != "" {
		return strings.ToLower(f)
	}
	if isTerminal(env.Stderr) {
		return formatText
	}
	return formatJSON
}

// isTerminal reports whether w is a character device, which is what a terminal is.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
