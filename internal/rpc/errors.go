package rpc

import (
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenon-run/tenon/internal/fault"
)

// Domain is the domain of every ErrorInfo that Tenon sends.
const Domain = "tenon.run"

var toCode = map[fault.Code]connect.Code{
	fault.CodeInternal:           connect.CodeInternal,
	fault.CodeInvalid:            connect.CodeInvalidArgument,
	fault.CodeNotFound:           connect.CodeNotFound,
	fault.CodeAlreadyExists:      connect.CodeAlreadyExists,
	fault.CodeFailedPrecondition: connect.CodeFailedPrecondition,
	fault.CodeUnauthenticated:    connect.CodeUnauthenticated,
	fault.CodePermissionDenied:   connect.CodePermissionDenied,
	fault.CodeResourceExhausted:  connect.CodeResourceExhausted,
	fault.CodeAborted:            connect.CodeAborted,
	fault.CodeUnavailable:        connect.CodeUnavailable,
	fault.CodeDeadlineExceeded:   connect.CodeDeadlineExceeded,
}

// fromCode is toCode the other way; a code that is missing here means that the server has a fault of its own.
var fromCode = map[connect.Code]fault.Code{
	connect.CodeInvalidArgument:    fault.CodeInvalid,
	connect.CodeOutOfRange:         fault.CodeInvalid,
	connect.CodeNotFound:           fault.CodeNotFound,
	connect.CodeAlreadyExists:      fault.CodeAlreadyExists,
	connect.CodeFailedPrecondition: fault.CodeFailedPrecondition,
	connect.CodeUnimplemented:      fault.CodeFailedPrecondition,
	connect.CodeUnauthenticated:    fault.CodeUnauthenticated,
	connect.CodePermissionDenied:   fault.CodePermissionDenied,
	connect.CodeResourceExhausted:  fault.CodeResourceExhausted,
	connect.CodeAborted:            fault.CodeAborted,
	connect.CodeCanceled:           fault.CodeAborted,
	connect.CodeUnavailable:        fault.CodeUnavailable,
	connect.CodeDeadlineExceeded:   fault.CodeDeadlineExceeded,
}

// ToConnect returns err as a Connect error whose text and google.rpc details hold the public part alone. requestID stands in the text of
// an internal error, and ties it to the log; empty leaves it out.
func ToConnect(err error, requestID string) *connect.Error {
	return toConnect(err, func() string { return requestID })
}

// toConnect asks for the request id only when it needs one.
func toConnect(err error, requestID func() string) *connect.Error {
	var known *fault.Error
	var wire *connect.Error
	if !errors.As(err, &known) && errors.As(err, &wire) && fromCode[wire.Code()] != fault.CodeInternal {
		return wire // Connect's own: a message too large, a stream that broke off.
	}
	known = fault.Of(err)
	code := toCode[known.Code]
	if known.Reason == fault.ReasonCanceled {
		code = connect.CodeCanceled
	}
	text, info := known.Error(), &errdetails.ErrorInfo{Reason: known.Reason, Domain: Domain}
	if code == connect.CodeInternal {
		if id := requestID(); id != "" {
			text += " (request " + id + ")"
			info.Metadata = map[string]string{"request_id": id}
		}
	}
	public := connect.NewError(code, errors.New(text))
	attach(public, info)
	if len(known.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, field := range known.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: field.Path, Description: field.Message})
		}
		attach(public, bad)
	}
	if !known.Resource.IsZero() {
		attach(public, &errdetails.ResourceInfo{ResourceType: known.Resource.Type, ResourceName: known.Resource.Name})
	}
	if known.RetryAfter > 0 {
		attach(public, &errdetails.RetryInfo{RetryDelay: durationpb.New(known.RetryAfter)})
	}
	return public
}

func attach(public *connect.Error, detail proto.Message) {
	packed, err := connect.NewErrorDetail(detail)
	if err != nil {
		return // Only for text that is not UTF-8; the code and the text stand without the detail.
	}
	public.AddDetail(packed)
}

// FromConnect returns the fault that a Connect error from another Tenon process, or another Connect server, carries. An error that is
// none is read as fault.Of reads it; nil gives nil.
func FromConnect(err error) *fault.Error {
	var wire *connect.Error
	if !errors.As(err, &wire) {
		return fault.Of(err)
	}
	known := fault.New(fromCode[wire.Code()], "", "%s", wire.Message()).WithCause(err)
	if wire.Code() == connect.CodeCanceled {
		known.Reason = fault.ReasonCanceled
	}
	for _, detail := range wire.Details() {
		value, err := detail.Value()
		if err != nil {
			continue // A detail of a type that we do not know.
		}
		switch value := value.(type) {
		case *errdetails.ErrorInfo:
			known.Reason = value.GetReason()
		case *errdetails.BadRequest:
			for _, field := range value.GetFieldViolations() {
				known.Fields = append(known.Fields, fault.Field{Path: field.GetField(), Message: field.GetDescription()})
			}
		case *errdetails.ResourceInfo:
			known.Resource = fault.Resource{Type: value.GetResourceType(), Name: value.GetResourceName()}
		case *errdetails.RetryInfo:
			known.RetryAfter = max(value.GetRetryDelay().AsDuration(), time.Duration(0))
		}
	}
	// The text repeats the fields for people; Error() will add them again.
	suffix := strings.TrimPrefix(known.Error(), known.Message)
	known.Message = strings.TrimSuffix(known.Message, suffix)
	return known
}
