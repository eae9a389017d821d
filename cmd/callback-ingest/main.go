// Command callback-ingest takes the answers of Microsoft and publishes them as sealed codes.
package main

import (
	"kindling/internal/app"
	"kindling/internal/service"
)

func main() { service.Main("callback-ingest", app.EdgeMain) }
