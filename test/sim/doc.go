// Package sim runs the whole of Tenon's engine in a world of chance: the real engine core, the real decisions of owner and keeper (scheduler.Drive), around
// them a store, a bus, processes, dispatchers and workers that fail in every way that a seed can think of. A history checker holds the world to the
// promises, and broken engines prove that it bites. One seed gives one history, always. Nothing imports it but its command.
package sim
