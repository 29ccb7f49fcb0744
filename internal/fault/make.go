package fault

import "fmt"

// New makes a fault. format and args make the public text.
func New(code Code, reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: reason, Message: sprintf(format, args)}
}

// Invalid makes a fault about the request itself, with the fields that are wrong.
func Invalid(reason, message string, fields ...Field) *Error {
	return &Error{Code: CodeInvalid, Reason: reason, Message: message, Fields: fields}
}

// InvalidField makes a fault about one field of the request, with the reason INVALID_ARGUMENT. format and args make the field's text.
func InvalidField(path, format string, args ...any) *Error {
	return Invalid(ReasonInvalid, "the request is not valid", Field{Path: path, Message: sprintf(format, args)})
}

// NotFound makes the fault for an object that does not exist, or that the caller may not know to exist. The reason is NOT_FOUND.
func NotFound(kind, name string) *Error {
	return New(CodeNotFound, ReasonNotFound, "%s %q does not exist", kind, name).WithResource(kind, name)
}

// AlreadyExists makes the fault for an object that exists with other contents. The reason is ALREADY_EXISTS.
func AlreadyExists(kind, name string) *Error {
	return New(CodeAlreadyExists, ReasonAlreadyExists, "%s %q already exists", kind, name).WithResource(kind, name)
}

// FailedPrecondition makes the fault for a call that the object's present state forbids.
func FailedPrecondition(reason, format string, args ...any) *Error {
	return New(CodeFailedPrecondition, reason, format, args...)
}

// Unauthenticated makes the fault for a caller we do not know.
func Unauthenticated(reason, format string, args ...any) *Error {
	return New(CodeUnauthenticated, reason, format, args...)
}

// PermissionDenied makes the fault for a caller we know and who may not.
func PermissionDenied(reason, format string, args ...any) *Error {
	return New(CodePermissionDenied, reason, format, args...)
}

// ResourceExhausted makes the fault for a quota or a full buffer; say when to come back with WithRetryAfter.
func ResourceExhausted(reason, format string, args ...any) *Error {
	return New(CodeResourceExhausted, reason, format, args...)
}

// Aborted makes the fault for a call that lost against another one; the caller may read again and retry.
func Aborted(reason, format string, args ...any) *Error {
	return New(CodeAborted, reason, format, args...)
}

// Unavailable makes the fault for something that is away for now; the same call may be sent again.
func Unavailable(reason, format string, args ...any) *Error {
	return New(CodeUnavailable, reason, format, args...)
}

// Internal hides err behind a public text that says nothing. format and args make
// the private text of what failed, as in fault.Internal(err, "decode run %d", id).
func Internal(err error, format string, args ...any) *Error {
	public := New(CodeInternal, ReasonInternal, "an internal error; the server's log has the details")
	return public.WithCause(fmt.Errorf("%s: %w", sprintf(format, args), err))
}

func sprintf(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}
