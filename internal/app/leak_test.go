package app_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain holds that nothing goes on after the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
