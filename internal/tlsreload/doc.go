// Package tlsreload gives a server a certificate that can be replaced while it runs: the files are looked at again when somebody shakes
// hands, and at once when Reload is called, and a pair that does not work leaves the last good one in place.
//
// cmd/tenond and internal/app import it.
package tlsreload
