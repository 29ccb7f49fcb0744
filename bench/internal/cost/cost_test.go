package cost

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	line := "42 (a (bad) name) S 7 42 42 0 -1 4194304 100 200 0 0 150 25 30 5 20 0 9 0 12345 1000 200 18446744073709551615"
	got, err := parseStat([]byte(line))
	want := stat{parent: 7, own: 1750 * time.Millisecond, waited: 350 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x) S 2", "1 (x) S p 1 1 0 -1 0 0 0 0 0 1 1 1 1 20"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a stat line", bad)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	t.Parallel()
	if got, err := parseMemory([]byte("Name:\ttenond\nVmPeak:\t  9 kB\nVmHWM:\t  2048 kB\n"), "VmHWM:"); err != nil || got != 2<<20 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := parseMemory([]byte("Name:\ttenond\n"), "VmHWM:"); err == nil {
		t.Error("a status without a peak is taken for one")
	}
	if got, err := PeakMemory(os.Getpid()); err != nil || got < 1<<20 {
		t.Errorf("this process has had %d bytes at most, %v", got, err)
	}
}

func TestCPUOfThisProcessGrows(t *testing.T) {
	t.Parallel()
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for spent := before; spent < before+2*tick; {
		if spent, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := CPUTree(os.Getppid())
	if err != nil || tree < before {
		t.Errorf("the parent's tree spent %s (%v), this process alone %s", tree, err, before)
	}
}
