// Command warmy-worker registers mailboxes at Warmy, once, at the pace that Warmy allows.
package main

import (
	"kindling/internal/app"
	"kindling/internal/service"
)

func main() { service.Main("warmy-worker", app.WarmyWorkerMain) }
