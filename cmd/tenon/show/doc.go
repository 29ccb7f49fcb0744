// Package show writes what the API answered: documents for programs, aligned tables for people, and differences. It asks nothing and decides nothing.
//
// cmd/tenon/command and cmd/tenon/progress import it.
package show
