package app_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain holds that nothing goes on after the tests.
func TestMain(m *testing.M) {
	// Of a Router that was stopped before it had subscribed Watermill leaves one, on which we have no handle.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/message.(*Router).watchAllHandlersStopped.func1"))
}
