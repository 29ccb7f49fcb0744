// Package registry keeps what can be run: workflows, declared by content, and their versions, which never change. It owns the tables workflows and
// workflow_versions; others read them through internal/definition. Only internal/app and registryrpc import it.
package registry
