package app

import (
	"runtime/debug"
	"strings"
)

// Version tells which build this is, as the Go toolchain recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	words := []string{info.Main.Version}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			words = append(words, s.Value[:min(len(s.Value), 12)])
		}
	}
	return strings.Join(append(words, info.GoVersion), " ")
}
