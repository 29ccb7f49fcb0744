// Package pages owns the dashboard's HTML: templ components and what they show. It makes no calls and reads no clock; frontend hands in
// everything. Only frontend imports it.
package pages
