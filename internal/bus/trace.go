package bus

import "context"

type traceKey struct{}

// WithTrace returns a context whose publishes carry the W3C traceparent.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	if traceparent == "" {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, traceparent)
}

func traceFrom(ctx context.Context) string {
	trace, _ := ctx.Value(traceKey{}).(string)
	return trace
}
