package definition

import (
	"fmt"
	"math"

	"github.com/tenon-run/tenon/internal/flow"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

// maxKindLen is the most bytes of an error kind.
const maxKindLen = 100

// builtinRetry is the policy of a task for which nothing is declared: no retries.
func builtinRetry() flow.Retry {
	return flow.Retry{Initial: flow.DefaultInitial, Factor: flow.DefaultFactor, MaxBackoff: flow.DefaultMaxWait}
}

// retry reads a policy. A policy is inherited as a whole: what it leaves out has the built-in default, not the one of spec.defaults.
func (c *checker) retry(path string, p *registryv1.RetryPolicy) flow.Retry {
	r := builtinRetry()
	r.Max = int(p.GetMaxRetries())
	if r.Max < 0 || r.Max > flow.MaxRetries {
		c.faultf(path+".max_retries", "is %d, it must be between 0 and %d", r.Max, flow.MaxRetries)
	}
	if d := p.GetInitialBackoff(); d != nil {
		r.Initial = c.duration(path+".initial_backoff", d, 0, flow.MaxInitial)
	}
	if d := p.GetMaxBackoff(); d != nil {
		r.MaxBackoff = c.duration(path+".max_backoff", d, 0, flow.MaxBackoff)
	}
	if f := p.GetFactor(); f != 0 { // NaN is unequal to everything
		if math.IsNaN(f) || f < 1 || f > flow.MaxFactor {
			c.faultf(path+".factor", "is %v, it must be between 1 and %d", f, flow.MaxFactor)
		}
		r.Factor = f
	}
	r.RetryOn = c.kinds(path+".retry_on", p.GetRetryOn())
	r.Never = c.kinds(path+".never_retry", p.GetNeverRetry())
	return r
}

func (c *checker) kinds(path string, kinds []string) []string {
	if len(kinds) > flow.MaxErrorKinds {
		c.faultf(path, "has %d error kinds, at most %d are allowed", len(kinds), flow.MaxErrorKinds)
		return nil
	}
	for i, kind := range kinds {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case kind == "":
			c.faultf(at, "an error kind cannot be empty")
		case len(kind) > maxKindLen:
			c.faultf(at, "the error kind has %d bytes, at most %d are allowed", len(kind), maxKindLen)
		default:
			c.text(at, kind)
		}
	}
	return kinds
}
