package fault

// Code says what kind of failure an error is. The list is short on purpose: a caller branches on the code, and on the Reason when the
// code alone is not enough.
type Code uint8

// The codes. The zero Code is CodeInternal, so that an error built by mistake never reads as something milder.
const (
	CodeInternal Code = iota
	CodeInvalid
	CodeNotFound
	CodeAlreadyExists
	CodeFailedPrecondition
	CodeUnauthenticated
	CodePermissionDenied
	CodeResourceExhausted
	CodeAborted
	CodeUnavailable
	CodeDeadlineExceeded
)

var codeNames = [...]string{
	CodeInternal:           "internal",
	CodeInvalid:            "invalid_argument",
	CodeNotFound:           "not_found",
	CodeAlreadyExists:      "already_exists",
	CodeFailedPrecondition: "failed_precondition",
	CodeUnauthenticated:    "unauthenticated",
	CodePermissionDenied:   "permission_denied",
	CodeResourceExhausted:  "resource_exhausted",
	CodeAborted:            "aborted",
	CodeUnavailable:        "unavailable",
	CodeDeadlineExceeded:   "deadline_exceeded",
}

// String returns the code's stable lower-case name, which is also the text of the Connect code that it becomes; "internal" for a number that is no code.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return codeNames[CodeInternal]
}

// ParseCode is the inverse of String. A name it does not know gives CodeInternal: a newer process may send a code that this one has
// not learned yet.
func ParseCode(name string) Code {
	for code, known := range codeNames {
		if known == name {
			return Code(code)
		}
	}
	return CodeInternal
}
