// Package command is the command line of Tenon: what `tenon` can do, how it asks the API for it, and how it says what came of it. It uses the SDK
// and the generated clients only, so that whatever it can do a program can do too.
//
// cmd/tenon imports it. Each command is a file; [Run] runs one in a [Host], which is all that a command sees of the machine but the profile file.
package command
