package service

import (
	"context"
	"errors"
)

// Exit codes of every binary, after sysexits.h where it has a fitting one.
const (
	ExitOK          = 0  // done, or stopped by a signal
	ExitFailed      = 1  // failed in a way no other code describes
	ExitPartly      = 3  // a bulk command did some of its work, not all
	ExitUsage       = 64 // the command line is wrong
	ExitData        = 65 // the input file is wrong
	ExitUnavailable = 69 // something this process needs does not answer
	ExitPermission  = 77 // the caller may not do this
	ExitConfig      = 78 // the configuration is wrong
)

// exitError gives an error the exit code that its process ends with.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }
func (e exitError) ExitCode() int { return e.code }

// WithExit marks err so that a process that ends with it exits with code.
// A nil err stays nil.
func WithExit(code int, err error) error {
	if err == nil {
		return nil
	}
	return exitError{code: code, err: err}
}

// ExitCode is the exit code for a process that ended with err: 0 for nil, the code of the
// first error in the chain that has a method ExitCode() int, ExitFailed for any other.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return ExitFailed
}

// onlyCanceled reports whether err says nothing but that its context was cancelled.
// A joined error that also holds a real failure must not pass for an orderly stop.
func onlyCanceled(err error) bool {
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand, every branch counts
	case interface{ Unwrap() []error }:
		for _, branch := range e.Unwrap() {
			if !onlyCanceled(branch) {
				return false
			}
		}
		return true
	case interface{ Unwrap() error }:
		return onlyCanceled(e.Unwrap())
	default:
		return err == context.Canceled //nolint:errorlint // a leaf of the tree
	}
}
