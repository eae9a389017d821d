// Command kindling is Kindling in one program: `kindling up` runs everything, `kindling demo` shows it, and the other
// commands are the operators' way to a running console.
package main

import (
	"context"

	"kindling/internal/bench"
	"kindling/internal/cli"
	"kindling/internal/sandbox"
	"kindling/internal/service"
)

func main() { service.Main("kindling", run) }

func run(ctx context.Context, env service.Env) error {
	return cli.Run(ctx, env, sandbox.UpCommand(env), sandbox.DemoCommand(env), bench.Command(env))
}
