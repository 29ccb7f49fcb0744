// Package apidocs serves the description of the public API: api.swagger.json (OpenAPI 2), which `make gen-proto` makes from the .proto files, and a page
// made from it that needs nothing from any other host. Only internal/app imports it.
package apidocs
