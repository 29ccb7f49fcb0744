// Package graph lays a workflow's tasks out as a picture: from left to right, each task to the right of its parents. It is pure, and the same
// tasks always give the same picture. frontend/pages imports it and draws.
package graph
