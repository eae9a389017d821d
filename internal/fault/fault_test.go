package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"kindling/internal/fault"
)

func TestAnUnclassifiedErrorIsTransient(t *testing.T) {
	t.Parallel()
	cause := errors.New("boom")
	got := fault.Of(fmt.Errorf("step: %w", cause))
	if got.Class != fault.Transient || got.Code != "unclassified" || !errors.Is(got, cause) {
		t.Errorf("Of() = %+v", got)
	}
}

func TestAWrappedFaultIsFoundAgain(t *testing.T) {
	t.Parallel()
	f := &fault.Fault{Class: fault.Permanent, Code: "x", Cause: "y"}
	err := fmt.Errorf("outer: %w", f)
	if fault.Of(err) != f || !fault.Is(err, fault.Permanent) || fault.Is(err, fault.Unclear) || fault.Is(nil, fault.Transient) {
		t.Errorf("Of(%v) = %v", err, fault.Of(err))
	}
	if got := err.Error(); got != "outer: x: y" {
		t.Errorf("Error() = %q", got)
	}
}
