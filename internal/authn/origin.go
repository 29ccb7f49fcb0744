package authn

import "context"

// Origin tells where a call without credentials comes from. It is what the caller and its network say, and proves nothing.
type Origin struct {
	// Address is an IPv4 address or an IPv6 /64 network; empty when not known.
	Address string
	// UserAgent is the header as it came, of any length.
	UserAgent string
}

type originKey struct{}

// WithOrigin returns a context that carries where the call comes from.
func WithOrigin(ctx context.Context, origin Origin) context.Context {
	return context.WithValue(ctx, originKey{}, origin)
}

// OriginFrom returns where the context's call comes from, the zero Origin when nobody said.
func OriginFrom(ctx context.Context) Origin {
	origin, _ := ctx.Value(originKey{}).(Origin)
	return origin
}
