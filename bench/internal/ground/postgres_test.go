package ground_test

import (
	"strings"
	"testing"

	"github.com/tenon-run/tenon/bench/internal/ground"
	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestADurableDatabaseIsTaken(t *testing.T) {
	t.Parallel()
	if err := ground.CheckDurable(t.Context(), testkit.DatabaseURL(t)); err != nil {
		t.Error(err)
	}
}

func TestAWeakenedDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"synchronous_commit is \"off\"": "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$",
		"synchronous_commit=local": "do $$ begin " +
			"execute format('alter role %I in database %I set synchronous_commit = local', current_user, current_database()); end $$",
		"unlogged: fast_and_loose": "create unlogged table fast_and_loose (x int)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := testkit.EmptyDatabaseURL(t)
			if _, err := testkit.Pool(t, address).Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
			err := ground.CheckDurable(t.Context(), address)
			if err == nil || !strings.Contains(err.Error(), "refuses to run") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestANamedTableMayBeUnlogged(t *testing.T) {
	t.Parallel()
	address := testkit.EmptyDatabaseURL(t)
	if _, err := testkit.Pool(t, address).Exec(t.Context(), "create unlogged table elections (x int primary key, y text)"); err != nil {
		t.Fatal(err)
	}
	if err := ground.CheckDurable(t.Context(), address, "elections"); err != nil {
		t.Error(err)
	}
}
