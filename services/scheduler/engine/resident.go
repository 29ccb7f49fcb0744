package engine

// Resident is how many runs are in memory. It is bounded by MaxRuns, the windows and what is in flight, not by how many runs are open.
func (s *Shard) Resident() int { return len(s.runs) }
