// Package infra holds what runs Tenon in production: systemd units, a compose file with its Dockerfile, and the database's roles. It has no
// code but the tests that hold these files against the programs they name. Nobody imports it.
package infra
