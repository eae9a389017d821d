// Command simulator answers as Microsoft and Warmy do, on loopback.
package main

import (
	"context"

	"kindling/internal/service"
	"kindling/internal/sim"
)

func main() {
	service.Main("simulator", func(ctx context.Context, env service.Env) error {
		return sim.Run(ctx, env.Args, env.Stdout, env.Stderr)
	})
}
