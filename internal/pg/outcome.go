package pg

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// FenceState is the SQLSTATE that the commit's second statement raises when a shard has another epoch than the committer believes.
const FenceState = "TN001"

// Kind is what a transaction's error says about the transaction.
type Kind uint8

const (
	// KindOK means there was no error.
	KindOK Kind = iota
	// KindFence means that at least one shard was lost to another owner. Nothing was committed.
	KindFence
	// KindData means that Postgres refused a value (SQLSTATE classes 22 and 23). Nothing was committed; the same data will fail again.
	KindData
	// KindTransient means that nothing was committed and the same transaction may be sent again.
	KindTransient
	// KindUnknown means that the connection was lost, or given up by our side: the transaction may have been committed, or still be under way.
	KindUnknown
	// KindBroken means that nothing was committed and a retry will not help: a statement, a permission or the schema is wrong.
	KindBroken
)

var kindNames = [...]string{"ok", "fence", "data", "transient", "unknown", "broken"}

// String returns the kind's name for logs.
func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// Outcome says what err means for the transaction it came from. An error that did not come from Postgres or its connection is KindBroken;
// one that may mean that the answer of a commit was lost is KindUnknown, in doubt always.
func Outcome(err error) Kind {
	if err == nil {
		return KindOK
	}
	var connect *pgconn.ConnectError
	var server *pgconn.PgError
	isServer := errors.As(err, &server)
	switch {
	case errors.As(err, &connect): // Refused at the door or not reached: no transaction was begun.
		if isServer && (class(server.Code) == "28" || server.Code == "3D000" || server.Code == "42501") {
			return KindBroken // Wrong user, password or database.
		}
		return KindTransient
	case isServer:
		return serverOutcome(server)
	case pgconn.SafeToRetry(err):
		return KindTransient // Nothing was sent.
	case errors.Is(err, pgx.ErrTxCommitRollback), errors.Is(err, pgx.ErrTxClosed), errors.Is(err, pgx.ErrNoRows), errors.Is(err, pgx.ErrTooManyRows):
		return KindBroken
	case isConnectionLoss(err):
		return KindUnknown
	default:
		return KindBroken
	}
}

func serverOutcome(server *pgconn.PgError) Kind {
	// A FATAL or PANIC ends the session, and it can arrive in place of the answer to a commit that was carried out.
	if severity := unlocalizedSeverity(server); severity == "FATAL" || severity == "PANIC" {
		return KindUnknown
	}
	switch server.Code {
	case FenceState:
		return KindFence
	case "40003": // statement_completion_unknown
		return KindUnknown
	case "40001", "40P01", // serialization_failure, deadlock_detected
		"55P03",          // lock_not_available
		"57014",          // query_canceled: by a timeout or an operator, the transaction is rolled back
		"25006", "58030": // read-only (a standby after a failover), io_error
		return KindTransient
	}
	switch class(server.Code) {
	case "22", "23":
		return KindData
	case "53":
		return KindTransient
	case "08":
		return KindUnknown
	default:
		return KindBroken
	}
}

func unlocalizedSeverity(server *pgconn.PgError) string {
	if server.SeverityUnlocalized != "" {
		return server.SeverityUnlocalized
	}
	return server.Severity
}

func class(code string) string {
	if len(code) < 2 {
		return ""
	}
	return code[:2]
}

// isConnectionLoss reports whether err came from the network, from a closed connection or from the end of the context that a statement
// ran under, which makes pgx close the connection.
func isConnectionLoss(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return true
	}
	return isNetworkError(err) || strings.Contains(err.Error(), "conn closed")
}

// Fenced returns the text that the fence raised its error with, which names the lost shards, and whether err is a fence at all.
func Fenced(err error) (lost string, ok bool) {
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != FenceState {
		return "", false
	}
	return server.Message, true
}

// IsUniqueViolation reports whether err is a breach of the named unique constraint or index; an empty name matches any.
func IsUniqueViolation(err error, constraint string) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == "23505" && (constraint == "" || server.ConstraintName == constraint)
}
