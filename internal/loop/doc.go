// Package loop is the one life cycle of everything in Tenon that lives long: a thing has a `Run(ctx) error` that returns when its context
// ends, a Group starts things in order and stops them in reverse, and a panic becomes an error with its stack. The cause of a context
// says why it ended (context.Cause): ErrShutdown, or the failure of a neighbour.
//
// It imports the standard library only, and every package may import it.
package loop
