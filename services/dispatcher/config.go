package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/payload"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// Limits of the protocol. Sizes are in bytes.
const (
	// MaxInline is the largest output that travels in a message to the owner; a larger one is stored first and travels as a reference.
	MaxInline = payload.InlineLimit
	// MaxFrame is the size at which messages to workers and requests to owners are cut.
	MaxFrame = 512 << 10
	// MaxLogText is the longest log message and the longest fields of a line: 64 KiB. A longer message is cut, longer fields are refused.
	MaxLogText = 64 << 10
	// MaxHeld is how many unfinished assignments one worker may have, those that wait for children included.
	MaxHeld = 10_000
	// MaxAnswer is the most that one answer of GetPayloads carries: 32 MiB, less what the envelope takes.
	MaxAnswer = 32<<20 - 1<<20
)

// SubjectSessionsWanted is where a new owner of a shard asks for the sessions of its tenants.
const SubjectSessionsWanted = "tenon.sessions.wanted"

// SubjectLogs, with the tenant's number behind it, is where a dispatcher tells that runs have new log lines.
const SubjectLogs = "tenon.logs."

// OrderSubject is where owners send their orders to one dispatcher.
func OrderSubject(instance string) string { return "tenon.dispatcher." + instance }

// Owners reaches the owner of a tenant's shard. A call is sent again, with the same ids, to whoever owns the shard by then, until ctx
// ends. It returns the epoch of the owner that answered.
type Owners interface {
	Call(ctx context.Context, tenantID int64, request *busv1.ShardRequest) (reply *busv1.ShardReply, epoch int64, err error)
	// Moved says that a shard has a new owner, so that calls wait no longer for the one before.
	Moved(shard int32, epoch int64)
}

// Caller is who calls, as the interceptors have found out.
type Caller struct {
	TenantID int64
	TokenID  flow.ID
}

// Config is what a dispatcher needs. The fields of the first block are required.
type Config struct {
	Pool   *pgxpool.Pool
	Bus    bus.Bus
	Owners Owners
	Log    *slog.Logger
	// Instance names this process on the bus, without dots or spaces. A restarted process has another one.
	Instance string

	// PayloadLimit is the largest output, and what workers are told of the largest payload, in bytes. Default 4 MiB.
	PayloadLimit int64
	// Grace is how long a silent worker keeps its session. Default 10 s.
	Grace time.Duration
	// HeartbeatInterval is how often workers say that they live. Default a quarter of Grace.
	HeartbeatInterval time.Duration
	// Beat is how long a stream may be quiet before an empty message keeps it open. Default 5 s.
	Beat time.Duration
	// CallTimeout bounds one call to an owner, resends included. Default 20 s.
	CallTimeout time.Duration
	// ProbeInterval is how often the owners of connected workers are asked for their epoch, which finds an owner whose call for
	// sessions was lost. Default 5 s.
	ProbeInterval time.Duration
	// Now is the clock of liveness and of log lines. Default time.Now.
	Now func() time.Time
}

// WithDefaults fills in what is unset.
func (c Config) WithDefaults() Config {
	setDefault(&c.PayloadLimit, payload.DefaultLimit)
	setDefault(&c.Grace, 10*time.Second)
	setDefault(&c.HeartbeatInterval, c.Grace/4)
	setDefault(&c.Beat, 5*time.Second)
	setDefault(&c.CallTimeout, 20*time.Second)
	setDefault(&c.ProbeInterval, 5*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func setDefault[T int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate names the field that is missing or out of range. It expects the defaults to be filled in.
func (c Config) Validate() error {
	switch {
	case c.Pool == nil, c.Bus == nil, c.Owners == nil, c.Log == nil:
		return errors.New("dispatcher: Pool, Bus, Owners and Log are all required")
	case c.Instance == "" || strings.ContainsAny(c.Instance, ". *>\t\r\n"):
		return fmt.Errorf("dispatcher: Instance is %q, it must be one token of a bus subject", c.Instance)
	case c.Grace < 0 || c.HeartbeatInterval < 0 || c.Beat < 0 || c.CallTimeout < 0 || c.ProbeInterval < 0 || c.PayloadLimit < 0:
		return errors.New("dispatcher: intervals and limits must not be negative")
	case c.HeartbeatInterval >= c.Grace:
		return fmt.Errorf("dispatcher: HeartbeatInterval is %s, it must be shorter than Grace (%s)", c.HeartbeatInterval, c.Grace)
	}
	return nil
}
