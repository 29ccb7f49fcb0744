// Package checkout proves what the README tells a stranger: it copies the checkout into a folder that nobody else may enter, runs `make demo` and
// `make dev` there as processes, as root and as an ordinary user, and looks at what they print, how they end and what they leave behind. It has
// tests only.
//
// They compile into a cache of their own, <user cache>/tenon/checkout, which makes all runs but the first fast; delete it at any time.
package checkout
