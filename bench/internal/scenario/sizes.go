package scenario

import "time"

// Sizes say how much is measured in a turn.
type Sizes struct {
	// Bulk and Single are the tasks of noop_bulk, and of noop_single and noop_single_sdk. Defaults 60,000 and 10,000.
	Bulk, Single int
	// Echo is the calls of the echo beside both of the latter. Default 10,000.
	Echo int
	// InFlight is how many single calls are under way at a time. Default 50.
	InFlight int
	// Latency is the calls of a latency's turn. Default 1,000.
	Latency int
	// Rate is how many of them begin in a second. Default 100.
	Rate float64
	// Fanouts is how often a fan-out is run in a turn, one after the other. Default 10.
	Fanouts int
	// Children is how many children a fan-out has. Default 1,000.
	Children int
	// Chains are the chains of chain3_50. Default 5,000.
	Chains int
	// Backlog is how many runs stand queued in backlog. Default 5,000,000.
	Backlog int
	// Finished and Open are the runs of dashboard. Defaults 1,000,000 and 10,000.
	Finished, Open int
	// Looks is how often dashboard makes each read in a turn. Default 200.
	Looks int
	// Idlers and Sleepers are the workers and the runs in a backoff of idle. Defaults 50 and 100.
	Idlers, Sleepers int
	// Idle is how long idle looks. Default 60 s.
	Idle time.Duration
	// Steady is how long failover and handover keep a load before they strike. Default 5 s.
	Steady time.Duration
	// Soak and SoakRate are how long a soak takes and how many tasks a second it has. Defaults 60 min and 2,000.
	Soak     time.Duration
	SoakRate float64
	// Tenants is how many tenants share the work of scaleout. Default 6.
	Tenants int
}

// WithDefaults returns the sizes with every unset field filled in.
func (s Sizes) WithDefaults() Sizes {
	fill := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	fill(&s.Bulk, 60_000)
	fill(&s.Single, 10_000)
	fill(&s.Echo, 10_000)
	fill(&s.InFlight, 50)
	fill(&s.Latency, 1_000)
	fill(&s.Fanouts, 10)
	fill(&s.Children, 1_000)
	fill(&s.Chains, 5_000)
	fill(&s.Backlog, 5_000_000)
	fill(&s.Finished, 1_000_000)
	fill(&s.Open, 10_000)
	fill(&s.Looks, 200)
	fill(&s.Idlers, 50)
	fill(&s.Sleepers, 100)
	fill(&s.Tenants, 6)
	if s.Rate == 0 {
		s.Rate = 100
	}
	if s.Idle == 0 {
		s.Idle = time.Minute
	}
	if s.Soak == 0 {
		s.Soak = time.Hour
	}
	if s.SoakRate == 0 {
		s.SoakRate = 2_000
	}
	if s.Steady == 0 {
		s.Steady = 5 * time.Second
	}
	return s
}

// Scaled returns the sizes with what is counted multiplied, and at least one of everything, and a second where a time is multiplied; rates and widths stay.
func (s Sizes) Scaled(by float64) Sizes {
	s = s.WithDefaults()
	for _, field := range []*int{&s.Bulk, &s.Single, &s.Echo, &s.Latency, &s.Fanouts, &s.Chains, &s.Backlog, &s.Finished, &s.Open} {
		*field = max(1, int(float64(*field)*by))
	}
	for _, field := range []*time.Duration{&s.Idle, &s.Steady} {
		*field = max(time.Second, time.Duration(float64(*field)*by))
	}
	return s
}
