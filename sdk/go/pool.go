package tenon

import "sync"

// pool runs functions on goroutines that are used again, so that their stacks grow once. A function never waits for another to end: as long as some
// wait to be begun, one goroutine more is on its way. So short ones that come in a crowd share a few goroutines, and long ones get one each.
type pool struct {
	maxIdle int

	mu      sync.Mutex
	news    *sync.Cond // of mu: idle goroutines wait here
	waiting []func()
	coming  int // goroutines made or woken that have taken nothing yet
	idle    int // goroutines that wait for news, less those woken
	closed  bool
	all     sync.WaitGroup
}

func newPool(slots int) *pool {
	const mostIdle = 64
	p := &pool{maxIdle: min(slots, mostIdle)}
	p.news = sync.NewCond(&p.mu)
	return p
}

// run has f begin as soon as the processor has time for it.
func (p *pool) run(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, f)
	p.summon()
}

// summon gets one more goroutine on its way if something waits and none is. p.mu is held.
func (p *pool) summon() {
	if p.coming > 0 || len(p.waiting) == 0 {
		return
	}
	p.coming++
	if p.idle > 0 {
		p.idle--
		p.news.Signal()
		return
	}
	p.all.Go(p.loop)
}

func (p *pool) loop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming--
	for {
		for len(p.waiting) > 0 {
			f := p.waiting[0]
			p.waiting[0] = nil
			p.waiting = p.waiting[1:]
			p.summon()
			p.call(f)
		}
		if p.closed || p.idle >= p.maxIdle {
			return
		}
		p.idle++
		p.news.Wait()
		if p.closed {
			return
		}
		p.coming--
	}
}

// call runs f without the lock, and has it again even if f ends its goroutine.
func (p *pool) call(f func()) {
	p.mu.Unlock()
	defer p.mu.Lock()
	f()
}

// close ends the idle goroutines, and busy ones as soon as their function returns. It waits for them if told to.
func (p *pool) close(wait bool) {
	p.mu.Lock()
	p.closed = true
	p.news.Broadcast()
	p.mu.Unlock()
	if wait {
		p.all.Wait()
	}
}
