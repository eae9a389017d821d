// Package e2e proves the promises of the whole: it builds the programs, runs them as an operator would, two of each
// against one NATS server, lets a crowd of owners consent, kills processes at random, and asks the simulators' ledgers
// what really happened. Its tests need the build tag e2e.
package e2e
