package bus

import (
	"context"
	"strings"
)

type traceKey struct{}

// longestTrace is that of version 00 of the W3C's form.
const longestTrace = 55

// WithTrace returns a context whose publishes carry the W3C traceparent. What has another form is not passed on: it
// comes from outside and would stand in dead letters.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	other := strings.Trim(traceparent, "0123456789abcdef-")
	if len(traceparent) != longestTrace || other != "" {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, traceparent)
}

func traceFrom(ctx context.Context) string {
	trace, _ := ctx.Value(traceKey{}).(string)
	return trace
}
