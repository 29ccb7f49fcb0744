package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/fault"
)

// outcome is the interceptor around the service: it validates what comes in, catches panics, ends streams whose token or server
// ended, and turns every error into one that the caller may see.
type outcome struct{ server *Server }

// WrapUnary implements connect.Interceptor.
func (o outcome) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (answer connect.AnyResponse, err error) {
		defer func() {
			if value := recover(); value != nil {
				err = o.server.panicked(ctx, request.Spec().Procedure, value)
			}
			if err = o.server.finish(ctx, err); err != nil {
				answer = nil
			}
		}()
		if err := o.server.validate(request.Any()); err != nil {
			return nil, err
		}
		return next(ctx, request)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (o outcome) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		ctx, cancel := o.server.guard(ctx)
		defer cancel()
		defer func() {
			if value := recover(); value != nil {
				err = o.server.panicked(ctx, conn.Spec().Procedure, value)
			}
			// A stream that its guard ended says so, whatever the service made of its context's end.
			if cause := context.Cause(ctx); cause != nil && isFault(cause) {
				err = cause
			}
			err = o.server.finish(ctx, err)
		}()
		return next(ctx, validatedConn{StreamingHandlerConn: conn, server: o.server})
	}
}

// WrapStreamingClient implements connect.Interceptor; a server has no client streams.
func (o outcome) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// guard returns a context that also ends when the caller's token does, or when the server's stop begins.
func (s *Server) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	leave := func() {}
	if record := callOf(ctx); record.known {
		ctx, leave = s.cfg.Verifier.Guard(ctx, record.principal)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(s.stopping, func() { cancel(context.Cause(s.stopping)) })
	return ctx, func() {
		unhook()
		cancel(context.Canceled)
		leave()
	}
}

// panicked logs a panic with its stack, and returns the internal error that the caller gets.
func (s *Server) panicked(ctx context.Context, procedure string, value any) error {
	if failure, ok := value.(error); ok && errors.Is(failure, http.ErrAbortHandler) {
		panic(value) // net/http's own way to hang up.
	}
	s.log.ErrorContext(ctx, "rpc: a handler panicked", slog.String("method", strings.TrimPrefix(procedure, "/")),
		slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(debug.Stack())))
	return fault.Internal(fmt.Errorf("panic: %v", value), "handle %s", procedure)
}

// finish records how a call ended and returns the error that the caller may see. nil stays nil.
func (s *Server) finish(ctx context.Context, err error) error {
	record := callOf(ctx)
	if err == nil {
		record.code = "ok"
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && isFault(cause) && !isFault(err) && errors.Is(err, context.Canceled) {
		err = cause
	}
	public := toConnect(err, func() string {
		record.requestID, record.cause = newRequestID(ctx), fault.Detail(err)
		return record.requestID
	})
	record.code, record.reason = public.Code().String(), reasonOf(err)
	return public
}

func isFault(err error) bool {
	_, ok := errors.AsType[*fault.Error](err)
	return ok
}

func reasonOf(err error) string {
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known.Reason
	}
	return ""
}

// validatedConn validates each message of a stream as it is received.
type validatedConn struct {
	connect.StreamingHandlerConn

	server *Server
}

// Receive implements connect.StreamingHandlerConn.
func (c validatedConn) Receive(message any) error {
	if err := c.StreamingHandlerConn.Receive(message); err != nil {
		// Connect calls a message that breaks off internal, but it is the client's: it must not look like a fault of ours.
		if wire, ok := errors.AsType[*connect.Error](err); ok && fromCode[wire.Code()] == fault.CodeInternal {
			return fault.Invalid(ReasonBrokenMessage, "the message cannot be read: "+wire.Message()).WithCause(err)
		}
		return err //nolint:wrapcheck // io.EOF and Connect's other errors must stay what they are.
	}
	return c.server.validate(message)
}

// validate holds a message against the rules in its .proto, and names each field that breaks one.
func (s *Server) validate(message any) error {
	request, ok := message.(proto.Message)
	if !ok {
		return fault.Internal(fmt.Errorf("%T is no protobuf message", message), "validate a request")
	}
	return validated(s.validator, request, "")
}

// ValidateItem holds one item of a bulk call against the rules in its .proto, for calls that answer bad items one by one. place is the item's
// path and stands before those of its fields.
func ValidateItem(item proto.Message, place string) error {
	return validated(protovalidate.GlobalValidator, item, place+".")
}

func validated(validator protovalidate.Validator, message proto.Message, prefix string) error {
	err := validator.Validate(message)
	if err == nil {
		return nil
	}
	var broken *protovalidate.ValidationError
	if !errors.As(err, &broken) {
		return fault.Internal(err, "validate a %s", message.ProtoReflect().Descriptor().FullName())
	}
	fields := make([]fault.Field, 0, len(broken.Violations))
	for _, violation := range broken.Violations {
		fields = append(fields, fault.Field{
			Path: prefix + protovalidate.FieldPathString(violation.Proto.GetField()), Message: ruleText(violation),
		})
	}
	return fault.Invalid(ReasonInvalidField, "the request is not valid", fields...)
}

const (
	// ReasonInvalidField is the reason of a request that breaks a rule of its .proto.
	ReasonInvalidField = "INVALID_FIELD"
	// ReasonBrokenMessage is the reason of a message on a stream that ends too early, or is not framed as it says.
	ReasonBrokenMessage = "BROKEN_MESSAGE"
)

func ruleText(violation *protovalidate.Violation) string {
	if text := violation.Proto.GetMessage(); text != "" {
		return text
	}
	return "breaks the rule " + violation.Proto.GetRuleId()
}
