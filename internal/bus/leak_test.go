package bus_test

import (
	"flag"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// TestMain holds that nothing of ours, of NATS or of Watermill goes on after the tests, but for one goroutine of a Router
// that could not subscribe: Watermill never ends it, and we have no handle on it.
func TestMain(m *testing.M) {
	if err := crowd(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/message.(*Router).watchAllHandlersStopped.func1"))
}

// crowd lets twice as many tests run side by side as there are processors, unless the command line says how many: many wait
// for seconds, for a lease or a time-out to end.
func crowd() error {
	flag.Parse()
	parallel := flag.Lookup("test.parallel")
	if parallel.Value.String() != parallel.DefValue {
		return nil
	}
	return parallel.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0)))
}
