//go:build !race

package bus_test

// scale divides the crowds of the largest tests, which the race detector slows down tenfold.
const scale = 1

// stride is of how many rows of the longest table one is played.
const stride = 1
