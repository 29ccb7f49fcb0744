// Package natsconf makes what a NATS cluster needs to know its users: a key for each set of services, and a configuration for each server
// that lets the key's owner do what the table in internal/bus says. The folder it writes is its memory: what is there is kept.
//
// cmd/tenond imports it, and tests that want a cluster.
package natsconf
