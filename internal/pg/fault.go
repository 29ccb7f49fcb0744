package pg

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenon-run/tenon/internal/fault"
)

// The reasons that Fault gives.
const (
	ReasonUnreachable   = "DATABASE_UNREACHABLE"
	ReasonBusy          = "DATABASE_BUSY"
	ReasonFenced        = "FENCED"
	ReasonDataRejected  = "DATA_REJECTED"
	ReasonConstraint    = "CONSTRAINT"
	ReasonAlreadyExists = fault.ReasonAlreadyExists
	ReasonNotFound      = fault.ReasonNotFound
)

// Fault returns err as a fault whose public text says nothing about tables, values or statements, with Clean(err) as its cause. A
// fault comes back untouched, nil stays nil. Callers that can name the object make their own fault from the outcome instead.
func Fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	cause := Clean(err)
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.New(fault.CodeNotFound, ReasonNotFound, "the object does not exist").WithCause(cause)
	}
	switch Outcome(err) {
	case KindFence:
		return fault.Aborted(ReasonFenced, "another process has taken over this work; send the call again").WithCause(cause)
	case KindData:
		return dataFault(err).WithCause(cause)
	case KindTransient:
		return fault.Unavailable(ReasonBusy, "the database cannot do this at the moment; send the call again").
			WithRetryAfter(time.Second).WithCause(cause)
	case KindUnknown:
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return fault.Of(cause)
		}
		return fault.Unavailable(ReasonUnreachable, "the connection to the database was lost; the call may have been carried out").
			WithRetryAfter(time.Second).WithCause(cause)
	default:
		return fault.Internal(cause, "postgres")
	}
}

func dataFault(err error) *fault.Error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return fault.Invalid(ReasonDataRejected, "the database refused a value")
	}
	switch server.Code {
	case "23505":
		return fault.New(fault.CodeAlreadyExists, ReasonAlreadyExists, "an object with this name or id already exists")
	case "23503":
		return fault.FailedPrecondition(ReasonConstraint, "the object refers to one that does not exist, or is still referred to")
	case "23514", "23502", "23P01":
		return fault.Invalid(ReasonConstraint, "the request breaks a rule of the database")
	default:
		return fault.Invalid(ReasonDataRejected, "the database refused a value: it is out of range or not well-formed")
	}
}

// Clean returns err without the parts in which Postgres repeats data: detail, hint, context and, for data errors (class 22), the
// message, which quotes the value. An error that did not come from Postgres is returned as it is.
func Clean(err error) error {
	var server *pgconn.PgError
	if err == nil || !errors.As(err, &server) {
		return err
	}
	clean := &pgconn.PgError{
		Severity: server.Severity, SeverityUnlocalized: server.SeverityUnlocalized, Code: server.Code, Message: server.Message,
		SchemaName: server.SchemaName, TableName: server.TableName, ColumnName: server.ColumnName,
		DataTypeName: server.DataTypeName, ConstraintName: server.ConstraintName, File: server.File, Line: server.Line, Routine: server.Routine,
	}
	if class(server.Code) == "22" {
		clean.Message = "a value was refused"
	}
	return clean
}

func isNetworkError(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
