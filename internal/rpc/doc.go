// Package rpc owns everything between a socket and a service method: one port that speaks Connect, gRPC, gRPC-Web and JSON over HTTP/1.1
// and cleartext HTTP/2; the checks that each call passes (credentials, access, rates, validation, sizes); the mapping between fault.Error
// and Connect errors; and the JSON codec that lets payloads stand inline.
//
// services/<x>/<x>rpc and frontend import it to register their handlers, internal/app to run the server. It imports no service.
//
// A call passes, in order: the record of the call (one log line), the gate (credentials, rate, access; before the message is read),
// tracing, the outcome (panics and errors become Connect errors), validation, the service.
package rpc
