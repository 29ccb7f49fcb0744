package testkit_test

import (
	"context"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/bus"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestDatabaseIsMigratedAndNotASuperusers(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	var super, migrated bool
	err := pool.QueryRow(t.Context(), `select (select rolsuper from pg_roles where rolname = current_user), to_regclass('tenants') is not null`).
		Scan(&super, &migrated)
	if err != nil {
		t.Fatal(err)
	}
	if super || !migrated {
		t.Errorf("superuser %v, migrated %v; want false, true", super, migrated)
	}
}

func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	one, other := testkit.Pool(t, testkit.EmptyDatabaseURL(t)), testkit.Pool(t, testkit.EmptyDatabaseURL(t))
	if _, err := one.Exec(t.Context(), "create table mine (x int)"); err != nil {
		t.Fatal(err)
	}
	var seen bool
	if err := other.QueryRow(t.Context(), "select to_regclass('mine') is not null").Scan(&seen); err != nil {
		t.Fatal(err)
	}
	if seen {
		t.Error("a table of one test's database is seen in another's")
	}
}

func TestSharedDatabaseIsOneAndMigrated(t *testing.T) {
	t.Parallel()
	one, other := testkit.SharedDatabase(t), testkit.SharedDatabase(t)
	if one != other {
		t.Error("two pools were made")
	}
	var migrated bool
	if err := one.QueryRow(t.Context(), "select to_regclass('tenants') is not null").Scan(&migrated); err != nil || !migrated {
		t.Errorf("migrated %v, %v", migrated, err)
	}
}

func TestDurabilityIsOn(t *testing.T) {
	t.Parallel()
	pool := testkit.Pool(t, testkit.EmptyDatabaseURL(t))
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := pool.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&value); err != nil {
			t.Fatal(err)
		}
		if value != "on" {
			t.Errorf("%s is %s, tests must run with production's durability", name, value)
		}
	}
}

func TestBusesOnOneServerReachEachOther(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	one, other := testkit.BusOn(t, server), testkit.BusOn(t, server)
	got := make(chan bus.Msg, 1)
	if _, err := other.Subscribe("hint", func(msg bus.Msg) { got <- msg }); err != nil {
		t.Fatal(err)
	}
	if err := one.Publish("hint", []byte("x")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case msg := <-got:
		if string(msg.Data) != "x" {
			t.Errorf("got %q", msg.Data)
		}
	case <-ctx.Done():
		t.Error("the message did not arrive")
	}
}

func TestLoggerAfterTheTestIsSilent(t *testing.T) {
	var late func()
	t.Run("inner", func(t *testing.T) {
		log := testkit.Logger(t)
		log.Info("during")
		late = func() { log.Info("after") }
	})
	late() // Would panic in testing.T.Log.
}
