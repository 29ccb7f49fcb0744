package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
)

// refusal is what a caller can tell of an error: its code, the stable reason, and the fields at fault.
type refusal struct {
	Code, Reason string
	Fields       []string
	Message      string
}

// String leaves the text for people out.
func (r refusal) String() string {
	return fmt.Sprintf("%s %s %v", r.Code, r.Reason, r.Fields)
}

func (r *refusal) read(detail proto.Message) {
	switch d := detail.(type) {
	case *errdetails.ErrorInfo:
		r.Reason = d.GetReason()
	case *errdetails.BadRequest:
		for _, v := range d.GetFieldViolations() {
			r.Fields = append(r.Fields, v.GetField())
		}
	}
}

// refusalOf reads an error of a generated client.
func refusalOf(err error) refusal {
	if err == nil {
		return refusal{Code: "ok"}
	}
	out := refusal{Code: connect.CodeOf(err).String(), Message: err.Error()}
	if wire := new(connect.Error); errors.As(err, &wire) {
		for _, d := range wire.Details() {
			if value, err := d.Value(); err == nil {
				out.read(value)
			}
		}
	}
	return out
}

// refusalOfItem reads the answer to one item of a bulk call.
func refusalOfItem(item *runsv1.ItemError) refusal {
	if item == nil {
		return refusal{Code: "ok"}
	}
	out := refusal{Code: item.GetCode(), Reason: item.GetReason(), Message: item.GetMessage()}
	if item.GetField() != "" {
		out.Fields = []string{item.GetField()}
	}
	return out
}

// caller speaks plain HTTP, as a program without any of our libraries does.
type caller struct {
	client         *http.Client
	address, token string
}

// post sends a body and reads the answer, a refusal in Connect's JSON form or a body of any form with HTTP's own status.
func (c caller) post(t *testing.T, method, contentType string, body io.Reader, headers ...string) (refusal, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.address+method, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		return refusal{Code: "ok"}, text
	}
	var wire struct {
		Code, Message string
		Details       []struct{ Type, Value string }
	}
	if json.Unmarshal(text, &wire) != nil || wire.Code == "" {
		return refusal{Code: fmt.Sprintf("http %d", res.StatusCode), Message: string(text)}, text
	}
	out := refusal{Code: wire.Code, Message: wire.Message}
	for _, d := range wire.Details {
		value, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(d.Value, "="))
		if err != nil {
			t.Fatalf("detail %s: %v", d.Type, err)
		}
		for name, detail := range map[string]proto.Message{"google.rpc.ErrorInfo": &errdetails.ErrorInfo{}, "google.rpc.BadRequest": &errdetails.BadRequest{}} {
			if d.Type != name {
				continue
			}
			if err := proto.Unmarshal(value, detail); err != nil {
				t.Fatalf("detail %s: %v", d.Type, err)
			}
			out.read(detail)
		}
	}
	return out, text
}

func (c caller) json(t *testing.T, method, body string) refusal {
	t.Helper()
	got, _ := c.post(t, method, "application/json", bytes.NewReader([]byte(body)))
	return got
}

// expect compares everything but the text, which need only say something.
func expect(t *testing.T, got, want refusal) {
	t.Helper()
	if got.Code != want.Code || got.Reason != want.Reason || !slices.Equal(got.Fields, want.Fields) {
		t.Errorf("got %s, want %s: %s", got, want, got.Message)
	}
	if !strings.Contains(got.Message, want.Message) {
		t.Errorf("the text is %q, it should name %q", got.Message, want.Message)
	}
}
