// Package bus carries messages between the parts of Tenon, over NATS. Every message is a hint or a call that may be sent again: what is
// lost can be rebuilt from Postgres, so nothing here waits for ever and nothing is stored.
//
// A call to a subject that this process serves itself skips the NATS hop, and is the same in every other way: the bytes are copied, the
// deadline and the errors are encoded, the limits hold. WithFaults drops, doubles and delays for tests, in front of both ways.
//
// Each process connects as a NATS user (Credentials) that may do what its services need and nothing else: the table is in permissions.go,
// internal/bus/natsconf turns it into a server's configuration.
//
// Services, internal/lease and internal/app import it. Subjects are named by the package that serves them.
package bus
