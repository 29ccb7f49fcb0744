package command

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/tenon-run/tenon/cmd/tenon/show"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// problem is an error as its reader needs it.
type problem struct {
	code    int
	message string
	// next is the command to try; empty when there is none to name.
	next string
}

func (p problem) Error() string { return p.message }

// outcome ends a command whose run did not complete. Its text has been said already where it is empty.
type outcome struct {
	code    int
	message string
	next    string
}

func (o *outcome) Error() string { return o.message }

// report says on the error stream what went wrong, and gives the exit code.
func (c *cli) report(err error) int {
	if ended, ok := errors.AsType[*outcome](err); ok {
		c.complain(problem{message: ended.message, next: ended.next})
		return ended.code
	}
	p, known := errors.AsType[problem](err)
	if !known {
		p = c.explain(err)
	}
	c.complain(p)
	return p.code
}

func (c *cli) complain(p problem) {
	colours := c.colours(c.host.ErrTerminal)
	_, _ = fmt.Fprintf(c.host.Err, "%s %s\n", show.Paint(colours, show.Red, "tenon:"), show.Lines(p.message))
	if p.next != "" {
		_, _ = fmt.Fprintf(c.host.Err, "%s %s\n", show.Paint(colours, show.Dim, "next: "), show.Lines(p.next))
	}
}

func interrupted(err error) string {
	if p, ok := errors.AsType[problem](err); ok {
		return p.message
	}
	return "interrupted"
}

// refusal is what the details of an error of the API say.
type refusal struct {
	code     connect.Code
	message  string
	reason   string
	resource string
	fields   []field
	retry    string
	// wire says that it is the server's word, and no broken connection.
	wire bool
}

type field struct{ path, message string }

// read gives what an error of a call says; nil for any other error.
func read(err error) *refusal {
	if item, ok := errors.AsType[*tenon.RefusedError](err); ok {
		r := &refusal{code: item.Code, message: item.Message, reason: item.Reason, wire: true}
		if item.Field != "" {
			r.fields = []field{{item.Field, strings.TrimPrefix(item.Message, notValid+": "+item.Field+": ")}}
		}
		return r.tidy()
	}
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return nil
	}
	r := &refusal{code: wire.Code(), message: wire.Message(), wire: connect.IsWireError(wire)}
	for _, detail := range wire.Details() {
		value, err := detail.Value()
		if err != nil {
			continue // a detail of a kind that this tool does not know; the text stands without it
		}
		switch value := value.(type) {
		case *errdetails.ErrorInfo:
			r.reason = value.GetReason()
		case *errdetails.ResourceInfo:
			r.resource = value.GetResourceType()
		case *errdetails.RetryInfo:
			r.retry = show.Duration(value.GetRetryDelay().AsDuration())
		case *errdetails.BadRequest:
			for _, v := range value.GetFieldViolations() {
				r.fields = append(r.fields, field{v.GetField(), v.GetDescription()})
			}
		}
	}
	return r.tidy()
}

const notValid = "the request is not valid"

var (
	object   = regexp.MustCompile(`^([a-z]+(?: version)?) "`)
	numbered = regexp.MustCompile(`^workflow ".*" has no version `)
)

// tidy takes what the details say off the text, and finds the kind of object where only the text names it.
func (r *refusal) tidy() *refusal {
	if len(r.fields) > 0 {
		r.message, _, _ = strings.Cut(r.message, ": "+r.fields[0].path+": ")
	}
	if found := object.FindStringSubmatch(r.message); r.resource == "" && found != nil {
		r.resource = found[1]
	}
	if numbered.MatchString(r.message) {
		r.resource = "workflow version"
	}
	return r
}

// invalid tells the fields at fault by their flags, on one line where there is one.
func (r *refusal) invalid() string {
	if len(r.fields) == 1 && (r.message == notValid || r.message == r.fields[0].message) {
		return r.fields[0].String()
	}
	lines := []string{r.message}
	for _, f := range r.fields {
		lines = append(lines, "  "+f.String())
	}
	return strings.Join(lines, "\n")
}

// String names the flag or argument and what is wrong with it.
func (f field) String() string {
	flag := flagOf(f.path)
	if rule := rules[flag]; rule != "" && strings.HasPrefix(f.message, "does not match regex pattern") {
		return flag + " must be " + rule
	}
	return flag + ": " + f.message
}

// rules say in words what the API says as patterns.
var rules = map[string]string{ //nolint:gochecknoglobals // a table
	"slug": "3 to 63 of a-z, 0-9 and hyphen, a letter first and no hyphen last", "--scope": `"object:action", "object:*" or "*", in lower case`,
}

// explain makes a problem of any error.
func (c *cli) explain(err error) problem {
	r := read(err)
	switch {
	case r == nil && errors.Is(err, context.DeadlineExceeded), r != nil && r.code == connect.CodeDeadlineExceeded && !r.wire:
		return problem{code: ExitUnreachable, message: fmt.Sprintf("no answer within %s; what was asked for may have been done", c.timeout), next: "try again, with a longer --timeout"}
	case r == nil:
		return problem{code: ExitFailure, message: err.Error()}
	case !r.wire:
		return c.unreachable(r)
	}
	p := problem{code: ExitFailure, message: r.message}
	switch r.code {
	case connect.CodeInvalidArgument:
		p.code = ExitUsage
		p.message = r.invalid()
	case connect.CodeNotFound:
		p.code, p.next = ExitNotFound, lists[r.resource]
		// What to do on the wire is no help here.
		p.message, _, _ = strings.Cut(p.message, ": declare it with PutWorkflow")
	case connect.CodeUnauthenticated:
		p.code, p.next = ExitNotSignedIn, "tenon login"
		if c.host.Getenv("TENON_CLIENT_TOKEN") != "" && c.profileFlag == "" {
			p.next = "put a token that is good into TENON_CLIENT_TOKEN, or unset it and use tenon login"
		}
	case connect.CodePermissionDenied:
		p.code, p.next = ExitDenied, "tenon whoami"
		if r.reason == "TENANT_REQUIRED" || r.reason == "NOT_A_MEMBER" {
			p.next = "tenon tenants list, then tenon tenants use SLUG"
		}
		if r.reason == "TENANT_REQUIRED" {
			p.message = "this is about a tenant, and none is chosen"
		} else if t, err := c.target(); err == nil && r.reason == "NOT_A_MEMBER" {
			p.message = fmt.Sprintf("tenant %q does not exist, or you are not a member of it", t.tenant)
		}
	case connect.CodeUnimplemented:
		p.message, p.next = "the server does not know this call: it is older than this tool", "tenon version"
	case connect.CodeResourceExhausted, connect.CodeUnavailable, connect.CodeAborted:
		p.next = "try again"
		if r.retry != "" {
			p.next = "try again in " + r.retry
		}
		if r.code == connect.CodeUnavailable {
			p.code = ExitUnreachable
		}
	}
	return p
}

// lists names the command that shows what exists, by the kind of object that does not.
var lists = map[string]string{ //nolint:gochecknoglobals // a table
	"run": "tenon runs list", "workflow": "tenon workflows list", "workflow version": "tenon workflows versions WORKFLOW", "token": "tenon tokens list",
	"session": "tenon sessions list", "member": "tenon members list", "tenant": "tenon tenants list", "worker": "tenon workers list",
	"invitation": "tenon members invitations",
}

// unreachable is the problem of a call that the server did not answer.
func (c *cli) unreachable(r *refusal) problem {
	address := "the server"
	if t, err := c.target(); err == nil && t.address != "" {
		address = t.address
	}
	return problem{
		code: ExitUnreachable, message: fmt.Sprintf("cannot reach %s: %s", address, plainReason(r.message)),
		next: "see that the server runs and that the address is right (tenon profiles list)",
	}
}

// plainReason takes the addresses of sockets, which change from call to call, off a network error.
func plainReason(message string) string {
	return socket.ReplaceAllString(message, "$1")
}

var socket = regexp.MustCompile(`(read|write) (?:tcp|udp) \S+->\S+`)

// flagOf names the flag or argument that a request's field comes from.
func flagOf(path string) string {
	if strings.HasSuffix(path, `"]`) {
		path, _, _ = strings.Cut(path, `["`) // an entry of a map, whose key may have dots of its own
	}
	last := path[strings.LastIndexByte(path, '.')+1:]
	last, _, _ = strings.Cut(last, "[")
	if flag, ok := flags[last]; ok {
		return flag
	}
	return path
}

var flags = map[string]string{ //nolint:gochecknoglobals // a table
	"input_json": "--input", "labels": "--label", "priority": "--priority", "run_id": "run id", "workflow": "workflow", "workflow_version": "--workflow-version",
	"slug": "slug", "email": "email", "password": "password", "role": "--role", "scopes": "--scope", "lifetime": "--lifetime", "name": "name",
	"tasks": "--task", "reason": "--reason", "page_size": "--limit", "page_token": "--page-token", "parent_run_id": "--parent",
	"created_after": "--since", "created_before": "--until", "statuses": "--status", "kind": "--kind", "worker_id": "worker", "user_id": "member", "token_id": "token", "invitation_id": "invitation", "session_id": "session", "id_prefix": "--id", "text": "--text", "min_level": "--level", "from": "--since", "window": "--since", "display_name": "--name", "task": "--task",
}
