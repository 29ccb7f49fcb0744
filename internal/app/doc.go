// Package app is the composition root: it wires the services to Postgres, to the bus and to one port, in the same way for `tenond dev`, for
// production and for tests. Only cmd/tenond and tests import it.
package app
