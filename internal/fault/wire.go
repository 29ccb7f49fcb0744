package fault

import (
	"encoding/json"
	"fmt"
	"time"
)

// wire is the form in which a fault goes from one Tenon process to another. The cause stays behind, the log of the process that made
// it has it.
type wire struct {
	Code         string    `json:"code"`
	Reason       string    `json:"reason,omitempty"`
	Message      string    `json:"message,omitempty"`
	Fields       []Field   `json:"fields,omitempty"`
	Resource     *Resource `json:"resource,omitempty"`
	RetryAfterMS int64     `json:"retry_after_ms,omitempty"`
}

// Encode returns the public part of err as JSON, for Decode in another process.
func Encode(err error) []byte {
	public := Of(err)
	if public == nil {
		public = New(CodeInternal, ReasonInternal, "an error without contents")
	}
	form := wire{
		Code: public.Code.String(), Reason: public.Reason, Message: public.Message, Fields: public.Fields,
		RetryAfterMS: public.RetryAfter.Milliseconds(),
	}
	if !public.Resource.IsZero() {
		form.Resource = &public.Resource
	}
	data, encodeErr := json.Marshal(form)
	if encodeErr != nil { // Strings and numbers only: the encoder has no way to fail.
		panic(fmt.Sprintf("fault: encode %v: %v", form, encodeErr))
	}
	return data
}

// Decode returns the fault in data. Data it cannot read gives CodeInternal, which is what the caller would have to assume anyway.
func Decode(data []byte) *Error {
	var form wire
	if err := json.Unmarshal(data, &form); err != nil {
		return Internal(err, "decode a fault of %d bytes", len(data))
	}
	decoded := &Error{
		Code: ParseCode(form.Code), Reason: form.Reason, Message: form.Message, Fields: form.Fields,
		RetryAfter: time.Duration(form.RetryAfterMS) * time.Millisecond,
	}
	if form.Resource != nil {
		decoded.Resource = *form.Resource
	}
	return decoded
}
