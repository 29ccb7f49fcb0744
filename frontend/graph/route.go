package graph

import (
	"cmp"
	"slices"
)

// clearance is how far a line stays away from a box that it passes, in pixels.
const clearance = 4

// column is boxes below each other, evenly spaced.
type column struct{ x, top, boxes int }

// passing is one edge, or several of the same parent, on its way past a column.
type passing struct {
	from   int
	wanted int // the height at which a straight line would pass
	// at are the points of the edges' ways that get the height: edge by edge, the first of two.
	at []place
}

type place struct{ edge, point int }

// route draws the edges. One that passes columns goes through a gap between their boxes, or above or below them: the gap nearest to the straight
// line. Lines in the same gap share it evenly; those of one parent run as one.
func (g *dag) route(out *Layout, columns []column, columnOf []int, s size) {
	half := s.height / 2 //nolint:mnd // the middle of a side
	gaps := make([]map[int][]*passing, len(columns))
	for i, parents := range g.parents {
		to := out.Nodes[i]
		for _, p := range parents {
			from := out.Nodes[p]
			start, end := Point{from.X + s.width, from.Y + half}, Point{to.X, to.Y + half}
			e := Edge{From: from.Name, To: to.Name, Points: []Point{start}}
			for c := columnOf[p] + 1; c < columnOf[i]; c++ {
				wanted := start.Y + (end.Y-start.Y)*(columns[c].x+s.width/2-start.X)/max(end.X-start.X, 1) //nolint:mnd // the middle
				if gaps[c] == nil {
					gaps[c] = make(map[int][]*passing)
				}
				gap := columns[c].nearest(wanted, s)
				gaps[c][gap] = join(gaps[c][gap], p, wanted, place{len(out.Edges), len(e.Points)})
				e.Points = append(e.Points, Point{X: columns[c].x}, Point{X: columns[c].x + s.width})
			}
			e.Points = append(e.Points, end)
			out.Edges = append(out.Edges, e)
		}
	}
	for c, inColumn := range gaps {
		for gap, lines := range inColumn { // in any order: no two share a line
			low, high := columns[c].gap(gap, out.Height, s)
			spread(lines, low, high, out.Edges)
		}
	}
}

// join adds an edge to the lines of a gap.
func join(lines []*passing, from, wanted int, at place) []*passing {
	for _, l := range lines {
		if l.from == from {
			l.at = append(l.at, at)
			return lines
		}
	}
	return append(lines, &passing{from: from, wanted: wanted, at: []place{at}})
}

// nearest is the gap of a column at which a line leaves its height the least: 0 is above the first box, 1 below it, and so on.
func (c column) nearest(y int, s size) int {
	step := s.height + s.gapY
	best, least := 0, -1
	for gap := range c.boxes + 1 {
		low, high := c.top+gap*step-s.gapY+clearance, c.top+gap*step-clearance
		off := max(low-y, y-high, 0)
		switch gap {
		case 0:
			off = max(y-high, 0)
		case c.boxes:
			off = max(low-y, 0)
		}
		if least < 0 || off < least {
			best, least = gap, off
		}
	}
	return best
}

// gap is between which heights lines run through it.
func (c column) gap(gap, height int, s size) (low, high int) {
	low, high = c.top+gap*(s.height+s.gapY)-s.gapY+clearance, c.top+gap*(s.height+s.gapY)-clearance
	if gap == 0 {
		low = min(clearance, high)
	}
	if gap == c.boxes {
		high = max(height-clearance, low)
	}
	return low, high
}

// spread gives each line a height of its own, in the order in which they come, as near to the wanted one as the others let it.
func spread(lines []*passing, low, high int, edges []Edge) {
	slices.SortStableFunc(lines, func(a, b *passing) int { return cmp.Or(cmp.Compare(a.wanted, b.wanted), cmp.Compare(a.from, b.from)) })
	const apart = 6 // pixels, where there is room
	step := min(apart, (high-low)/max(len(lines)-1, 1))
	y := low
	for i, l := range lines {
		y = min(max(y, l.wanted), high-step*(len(lines)-1-i))
		for _, at := range l.at {
			points := edges[at.edge].Points
			points[at.point].Y, points[at.point+1].Y = y, y
		}
		y += step
	}
}
