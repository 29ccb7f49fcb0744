package chaos_test

import (
	"testing"

	"github.com/tenon-run/tenon/internal/testkit"
	"github.com/tenon-run/tenon/test/chaos"
)

func TestMain(m *testing.M) {
	chaos.Main()
	testkit.Main(m)
}
