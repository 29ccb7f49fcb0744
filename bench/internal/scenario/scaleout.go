package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tenon-run/tenon/bench/internal/figures"
	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/bench/internal/tenonside"
)

// scaleout is the same work for the same number of tenants on one, two and three processes, each with all services.
type scaleout struct {
	*bench // without an install of its own

	installs []*crowd // by number of processes
}

// crowd is an install with several tenants, each with a worker and a client.
type crowd struct {
	*bench

	tenants []ground.Tokens // those that are used: as many of each process as of the others
	workers []*tenonside.Worker
	clients []*tenonside.Client
}

func openScaleout(b *bench, ctx context.Context) (stage, error) {
	const most = 3
	s := &scaleout{bench: b}
	for n := 1; n <= most; n++ {
		c := &crowd{bench: b.sibling(strconv.Itoa(n))}
		s.installs = append(s.installs, c)
		if err := c.open(ctx, n); err != nil {
			return nil, errors.Join(err, s.end())
		}
	}
	return s, nil
}

func (s *scaleout) end() error {
	var errs []error
	for _, c := range s.installs {
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}

func (c *crowd) open(ctx context.Context, processes int) error {
	const spare, fewest = 4, 24 // times as many tenants as are used, so that every process owns enough of them
	servers := make([]ground.ServerConfig, processes)
	for i := range servers {
		servers[i].Name = "server-" + strconv.Itoa(i+1)
	}
	if err := c.startInstall(ctx, shape{servers: servers, tenants: max(fewest, spare*c.cfg.Sizes.Tenants), workers: -1}); err != nil {
		return err
	}
	err := c.await(ctx, "the processes to share the shards",
		"select count(*) = $1 and sum(n) = 64 from (select count(*) as n from shards where owner is not null group by owner) as s", processes)
	if err != nil {
		return err
	}
	return c.spread(ctx, processes)
}

// spread chooses the tenants, so that each process owns the same number of them.
func (c *crowd) spread(ctx context.Context, processes int) error {
	rows, err := c.watch.Query(ctx, `select t.slug, s.owner::text from tenants t join tenant_shards p on p.tenant_id = t.id join shards s on s.id = p.shard order by t.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	owners := make(map[string]string)
	for rows.Next() {
		var slug, owner string
		if err := rows.Scan(&slug, &owner); err != nil {
			return err
		}
		owners[slug] = owner
	}
	each, owned := c.cfg.Sizes.Tenants/processes, make(map[string]int)
	for _, tenant := range c.tokens {
		if owner := owners[tenant.Slug]; owned[owner] < each {
			owned[owner]++
			c.tenants = append(c.tenants, tenant)
		}
	}
	if len(c.tenants) != each*processes {
		return fmt.Errorf("%d tenants for %d processes: %v", len(c.tenants), processes, owned)
	}
	return rows.Err()
}

// turn measures one, two and three processes.
func (s *scaleout) turn(ctx context.Context) (figures.Turn, error) {
	var rates [3]float64
	for i, c := range s.installs {
		rate, err := c.measure(ctx)
		if err != nil {
			return figures.Turn{}, fmt.Errorf("%d processes: %w", i+1, err)
		}
		rates[i] = rate
	}
	return figures.Turn{Rate: rates[2], Also: map[string]float64{
		"one": rates[0], "two": rates[1], "three": rates[2], "ratio_two": rates[1] / rates[0], "ratio_three": rates[2] / rates[0],
	}}, nil
}

// measure starts a worker and a client for each tenant, and has all of them work at the same time.
func (c *crowd) measure(ctx context.Context) (rate float64, err error) {
	defer func() { err = errors.Join(err, c.sendHome()) }()
	for i, tenant := range c.tenants {
		address := c.servers[i%len(c.servers)].Address
		place := c.place(address, tenant.Worker)
		place.Name = fmt.Sprintf("worker-%d", i+1)
		worker, err := tenonside.StartWorker(place)
		if err != nil {
			return 0, err
		}
		c.workers = append(c.workers, worker)
		place.Token, place.Name = tenant.API, fmt.Sprintf("client-%d", i+1)
		client, err := tenonside.StartClient(place)
		if err != nil {
			return 0, err
		}
		c.clients = append(c.clients, client)
		if err := c.awaitWorkflows(ctx, tenant, worker); err != nil {
			return 0, err
		}
	}
	if _, err := c.round(ctx, max(1, c.cfg.Sizes.Bulk/10)); err != nil { // to warm up
		return 0, err
	}
	return c.round(ctx, c.cfg.Sizes.Bulk)
}

func (c *crowd) sendHome() error {
	var errs []error
	for i := range c.clients {
		errs = append(errs, c.clients[i].Stop())
	}
	for i := range c.workers {
		errs = append(errs, c.workers[i].Stop())
	}
	c.clients, c.workers = nil, nil
	return errors.Join(errs...)
}

// round has every tenant's share of some runs triggered and worked at the same time.
func (c *crowd) round(ctx context.Context, runs int) (float64, error) {
	each := max(1, runs/len(c.tenants))
	begin := time.Now()
	errs := make([]error, len(c.tenants))
	var all sync.WaitGroup
	for i := range c.tenants {
		first := c.next + int64(i*each)
		all.Go(func() {
			if errs[i] = c.workers[i].Reset(ctx); errs[i] != nil {
				return
			}
			if _, errs[i] = c.clients[i].Bulk(ctx, tenonside.Order{Workflow: tenonside.Noop, Runs: each, First: first}); errs[i] != nil {
				return
			}
			_, errs[i] = c.workers[i].Await(ctx, each)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	if err := c.await(ctx, "the last runs to be stored", "select not exists (select from live)"); err != nil {
		return 0, err
	}
	n := each * len(c.tenants)
	c.next += int64(n)
	rate := figures.Rate(n, time.Since(begin)).Rate
	return rate, c.verify(ctx, tenonside.Order{Workflow: tenonside.Noop, Runs: n}, begin)
}
