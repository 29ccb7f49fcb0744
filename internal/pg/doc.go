// Package pg is the way to PostgreSQL: the pool and its settings, transactions that always end, the reader's door to one tenant's rows,
// and the meaning of Postgres errors. It knows no table of ours.
//
// Services, internal/lease, internal/app and db import it; internal/flow, the engine core, frontend and sdk do not.
package pg
