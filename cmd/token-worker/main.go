// Command token-worker redeems authorization codes and keeps tokens fresh.
package main

import (
	"kindling/internal/app"
	"kindling/internal/service"
)

func main() { service.Main("token-worker", app.TokenWorkerMain) }
