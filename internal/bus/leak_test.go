package bus_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain holds that nothing of ours, of NATS or of Watermill goes on after the tests, but for one goroutine of a Router
// that could not subscribe: Watermill never ends it, and we have no handle on it.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/message.(*Router).watchAllHandlersStopped.func1"))
}
