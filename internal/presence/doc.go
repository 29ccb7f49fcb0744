// Package presence lets the processes of an install know each other: which run what, and where they are reached. Each announces itself on the
// bus about once a second; one that is silent for a few seconds counts as gone, and one that stops says so. What is known here is a hint: it
// chooses whom to ask, and never decides what is true. The composition root makes one per process; services get what they need as functions.
package presence
