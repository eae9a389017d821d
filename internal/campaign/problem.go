package campaign

import (
	"fmt"
	"strconv"
)

// Code names a kind of problem; the set is closed, so it can label a metric.
type Code string

// Codes that callers branch on, or give to rows they refuse themselves.
const (
	Duplicate        Code = "duplicate"         // the row repeats an earlier row of the file
	Erased           Code = "erased"            // the mailbox was erased on request
	Suppressed       Code = "suppressed"        // the address must not be contacted
	OtherTenant      Code = "other_tenant"      // the address is known under another tenant
	AlreadyInvited   Code = "already_invited"   // the mailbox has a live link
	AlreadyConnected Code = "already_connected" // the mailbox is registered
)

// Problem is one thing wrong with a file or a row, in words for the operator.
// It never repeats the content of the file.
type Problem struct {
	Line   int    `json:"line,omitempty"`   // line of the file; 0: the file as a whole
	Column string `json:"column,omitempty"` // name of the column, or "column 3" in the header
	Code   Code   `json:"code"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"` // what to do about it
}

// String gives "row:column: reason (remedy)".
func (p Problem) String() string {
	place := "file"
	switch {
	case p.Line > 0 && p.Column != "":
		place = strconv.Itoa(p.Line) + ":" + p.Column
	case p.Line > 0:
		place = strconv.Itoa(p.Line)
	}
	return place + ": " + p.Reason + " (" + p.Remedy + ")"
}

// FileError means that the file as a whole is refused and reading has ended.
// The exit code that belongs to it is 65 (data).
type FileError struct {
	Problem Problem
	cause   error
}

// Error gives the problem's text.
func (e *FileError) Error() string { return e.Problem.String() }

// Unwrap gives the error of the underlying reader, if that was the cause.
func (e *FileError) Unwrap() error { return e.cause }

// note is a problem without its place.
type note struct {
	code           Code
	reason, remedy string
}

func (n note) at(line int, column string) Problem {
	return Problem{Line: line, Column: column, Code: n.code, Reason: n.reason, Remedy: n.remedy}
}

// About words a refusal that depends on stored state, which only the caller
// knows, so that all words an operator reads about a row come from one place.
func About(code Code, line int) Problem {
	n := note{code: code}
	switch code {
	case Duplicate:
		n.reason, n.remedy = "the same address and app stand in an earlier row", "skipped; remove one of the two"
	case Erased:
		n.reason, n.remedy = "the mailbox was erased on request", "ask the owner first; an operator with the admin role can lift it"
	case Suppressed:
		n.reason, n.remedy = "the address is on the suppression list", "remove the row, or lift the suppression"
	case OtherTenant:
		n.reason, n.remedy = "the address is already known under another tenant", "correct the tenant column, or erase the other mailbox first"
	case AlreadyInvited:
		n.reason, n.remedy = "the mailbox has a live link", "skipped; choose refresh to replace the link"
	case AlreadyConnected:
		n.reason, n.remedy = "the mailbox is already connected", "skipped; nothing to do"
	default:
		n.reason, n.remedy = "the row cannot be used", "see the console"
	}
	return n.at(line, "email")
}

func repeats(first int) note {
	return note{
		Duplicate, fmt.Sprintf("the same address and app stand in row %d", first),
		"skipped; remove one of the two",
	}
}
