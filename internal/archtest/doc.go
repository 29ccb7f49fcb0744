// Package archtest holds the repository's structure in place: which package may import which, that every package says what
// it is, and that no code or test hides from the build. It has tests only, and nothing imports it.
//
// The linter checks the import rules too (.golangci.yml) and tells them in the editor; here they hold for whoever runs the
// tests alone. A rule that stops a good change is changed in both places, with its reason.
package archtest
