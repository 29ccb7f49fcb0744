// Package profile keeps what `tenon login` was told: for each named profile a server's address, a token and a tenant, in a file that its owner
// alone can read.
//
// cmd/tenon/command imports it.
package profile
