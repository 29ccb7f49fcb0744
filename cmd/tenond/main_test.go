package main

import (
	"testing"

	"github.com/tenon-run/tenon/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
