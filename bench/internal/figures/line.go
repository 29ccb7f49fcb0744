package figures

// Turns are all turns of a scenario, in the order in which they alternated. Those that a scenario does not have are empty.
type Turns struct {
	Tenon []Turn `json:"tenon"`
	River []Turn `json:"river,omitempty"`
	Floor []Turn `json:"floor,omitempty"`
	Echo  []Turn `json:"echo,omitempty"`
}

// Line is what a scenario prints: medians of its turns. Fields that a scenario does not have are left out.
type Line struct {
	Scenario string `json:"scenario"`
	Unit     string `json:"unit"`
	// Tenon is the value: a rate, or the median latency.
	Tenon float64 `json:"tenon"`
	Peer  string  `json:"peer,omitempty"`
	// PeerValue is the peer's value in the same unit.
	PeerValue float64 `json:"peer_value,omitempty"`
	// Ratio is above 1 where Tenon is better.
	Ratio float64 `json:"ratio,omitempty"`
	P50   float64 `json:"p50,omitempty"`
	P99   float64 `json:"p99,omitempty"`
	// FloorP50 and FloorP99 are of the bare chain without an engine; RatioFloor is P50 over FloorP50.
	FloorP50   float64 `json:"floor_p50,omitempty"`
	FloorP99   float64 `json:"floor_p99,omitempty"`
	RatioFloor float64 `json:"ratio_floor,omitempty"`
	// Echo is bare authenticated calls a second; RatioEcho is Tenon's rate over it.
	Echo      float64 `json:"echo,omitempty"`
	RatioEcho float64 `json:"ratio_echo,omitempty"`
	// Also are a scenario's further figures.
	Also map[string]float64 `json:"also,omitempty"`
	*Cost
	// Spread is the least and the greatest value of Tenon's turns.
	Spread []float64 `json:"spread,omitempty"`
	// Goal is what the scenario should reach, Met whether it does; both are left out where there is none.
	Goal string `json:"goal,omitempty"`
	Met  *bool  `json:"met,omitempty"`
}

// Value is what is compared of a turn: its figure if it has one, its rate where more is better, else its median latency.
func (t Turn) Value(better Better) float64 {
	switch {
	case t.Figure != 0:
		return t.Figure
	case better == Lower:
		return t.P50
	default:
		return t.Rate
	}
}

// Summarise makes the line of a scenario. peer names who else ran; it is left out where nobody did.
func Summarise(scenario, unit, peer string, better Better, turns Turns) Line {
	tenon := medians(turns.Tenon)
	line := Line{Scenario: scenario, Unit: unit, Cost: tenon.Cost, Also: tenon.Also}
	value := func(t Turn) float64 { return t.Value(better) }
	if better == Lower {
		line.P50, line.P99 = Round(tenon.P50), Round(tenon.P99)
	}
	line.Tenon = Round(value(tenon))
	if len(turns.Tenon) > 1 {
		least, greatest := value(turns.Tenon[0]), value(turns.Tenon[0])
		for _, t := range turns.Tenon {
			least, greatest = min(least, value(t)), max(greatest, value(t))
		}
		line.Spread = []float64{Round(least), Round(greatest)}
	}
	if len(turns.River) > 0 {
		other := value(medians(turns.River))
		line.Peer, line.PeerValue, line.Ratio = peer, Round(other), Round(Ratio(value(tenon), other, better))
	}
	if len(turns.Floor) > 0 {
		floor := medians(turns.Floor)
		line.FloorP50, line.FloorP99 = Round(floor.P50), Round(floor.P99)
		if floor.P50 > 0 {
			line.RatioFloor = Round(tenon.P50 / floor.P50)
		}
	}
	if len(turns.Echo) > 0 {
		echo := medians(turns.Echo).Rate
		line.Echo, line.RatioEcho = Round(echo), Round(Ratio(tenon.Rate, echo, Higher))
	}
	return line
}
