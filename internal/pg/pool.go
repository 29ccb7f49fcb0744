package pg

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/fault"
)

// Config says how to reach Postgres.
type Config struct {
	// URL is a postgres:// address or a keyword/value string. Required. (DATABASE_URL)
	URL string
	// MaxConns is the most connections the pool opens. Default 16.
	MaxConns int32
	// MinIdleConns is how many connections are kept open in reserve. Default 0.
	MinIdleConns int32
	// ApplicationName is shown in pg_stat_activity. Default "tenon".
	ApplicationName string
	// StatementTimeout ends a statement that runs longer; negative means none. Default 30 s.
	StatementTimeout time.Duration
	// LockTimeout ends a statement that waits longer for one lock; negative means none. Default 10 s.
	LockTimeout time.Duration
	// IdleInTxTimeout ends a session that sits idle in a transaction longer; negative means none. Default 60 s.
	IdleInTxTimeout time.Duration
	// ConnectTimeout bounds one attempt to connect. Default 5 s.
	ConnectTimeout time.Duration
	// PinPlans is for a pool whose every statement finds its rows by keys: plans are made once a connection, and only of index look-ups. Without it a
	// plan made while a table was analysed empty turns a batched UPDATE into a scan of the table. Default false.
	PinPlans bool
}

// WithDefaults returns the config with every unset field filled in.
func (c Config) WithDefaults() Config {
	if c.MaxConns == 0 {
		c.MaxConns = 16
	}
	if c.ApplicationName == "" {
		c.ApplicationName = "tenon"
	}
	setDuration(&c.StatementTimeout, 30*time.Second)
	setDuration(&c.LockTimeout, 10*time.Second)
	setDuration(&c.IdleInTxTimeout, 60*time.Second)
	setDuration(&c.ConnectTimeout, 5*time.Second)
	return c
}

func setDuration(field *time.Duration, value time.Duration) {
	if *field == 0 {
		*field = value
	}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.URL == "":
		return fault.Invalid("DATABASE_URL_MISSING", "no database is named: set DATABASE_URL")
	case c.MaxConns < 1:
		return fault.Invalid("DATABASE_CONFIG", fmt.Sprintf("MaxConns is %d, it must be at least 1", c.MaxConns))
	case c.MinIdleConns < 0 || c.MinIdleConns > c.MaxConns:
		return fault.Invalid("DATABASE_CONFIG", fmt.Sprintf("MinIdleConns is %d, it must be between 0 and MaxConns (%d)", c.MinIdleConns, c.MaxConns))
	case c.ConnectTimeout < 0:
		return fault.Invalid("DATABASE_CONFIG", fmt.Sprintf("ConnectTimeout is %s, it must be positive", c.ConnectTimeout))
	}
	return nil
}

// Open returns a pool after one successful ping. The caller closes it. The error names the server and never the password.
func Open(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	poolConfig, err := cfg.pool()
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, Fault(err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		conn := poolConfig.ConnConfig
		return nil, fault.Unavailable(ReasonUnreachable, "no connection to Postgres at %s:%d, database %q, user %q: check the address and that the server runs",
			conn.Host, conn.Port, conn.Database, conn.User).WithCause(Clean(err))
	}
	return pool, nil
}

func (c Config) pool() (*pgxpool.Config, error) {
	poolConfig, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		// The parser's error repeats parts of the URL; the password is masked by pgx, the rest stays in the private cause.
		return nil, fault.Invalid("DATABASE_URL_INVALID", "DATABASE_URL is not a Postgres address such as postgres://user:password@host:5432/database").WithCause(err)
	}
	poolConfig.MaxConns = c.MaxConns
	poolConfig.MinIdleConns = c.MinIdleConns
	poolConfig.ConnConfig.ConnectTimeout = c.ConnectTimeout
	poolConfig.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		registerArrays(conn.TypeMap())
		return nil
	}
	params := poolConfig.ConnConfig.RuntimeParams
	params["application_name"] = c.ApplicationName
	params["statement_timeout"] = milliseconds(c.StatementTimeout)
	params["lock_timeout"] = milliseconds(c.LockTimeout)
	params["idle_in_transaction_session_timeout"] = milliseconds(c.IdleInTxTimeout)
	params["timezone"] = "UTC"
	// A plan made while a table is empty or small reads all of it, and is kept while the table grows. Everything here is found by an index.
	params["enable_seqscan"] = "off"
	params["jit"] = "off"
	if c.PinPlans {
		params["plan_cache_mode"] = "force_generic_plan"
		params["enable_hashjoin"] = "off"
		params["enable_mergejoin"] = "off"
	}
	return poolConfig, nil
}

// milliseconds renders a timeout as Postgres reads it; zero there means none.
func milliseconds(d time.Duration) string {
	if d < 0 {
		return "0"
	}
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10)
}
