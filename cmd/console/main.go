// Command console serves the operators' pages and API.
package main

import (
	"kindling/internal/app"
	"kindling/internal/service"
)

func main() { service.Main("console", app.ConsoleMain) }
