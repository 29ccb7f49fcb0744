package checkout

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// elsewhere finds the folder that tenond says it uses when Postgres's user cannot enter the checkout.
var elsewhere = regexp.MustCompile(`unreachable=\S+ used=(/var/lib/tenon/[0-9a-f]{16})\b`)

// otherFolder returns that folder: as root there must be one, as everybody else none is needed.
func otherFolder(t *testing.T, who somebody, stderr string) string {
	t.Helper()
	said := elsewhere.FindStringSubmatch(stderr)
	if needed := os.Geteuid() == 0 && who.credential == nil; needed != (said != nil) {
		t.Fatalf("as %s: a line about a folder elsewhere: %v, want %v:\n%s", who.name, said != nil, needed, stderr)
	}
	if said == nil {
		return ""
	}
	return said[1]
}

func TestMakeDemo(t *testing.T) {
	t.Parallel()
	for _, who := range everybody(t) {
		t.Run(who.name, func(t *testing.T) {
			// One after the other: each kills a worker within a window of time.
			c := newCheckout(t, who)
			if os.Geteuid() == 0 && who.credential == nil {
				c.foreignRepository(t)
			}
			run := c.start(t, nil, "make", "demo")
			output, err := run.end(t)
			if err != nil {
				t.Fatalf("%v:\n%s\n%s", err, output, run.stderr)
			}
			for _, left := range run.left(t) {
				t.Errorf("left over: %s", left)
			}
			checkDemo(t, output)
			if folder := otherFolder(t, who, run.stderr.String()); folder != "" {
				if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is left over: %v", folder, err)
				}
			}
			left, err := os.ReadDir(filepath.Join(c.base, "tmp"))
			if err != nil || len(left) > 0 {
				t.Errorf("left over in the folder for temporary files: %v, %v", left, err)
			}
			if _, err := os.Stat(filepath.Join(c.dir, ".tenon")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the demo has put data into the checkout: %v", err)
			}
		})
	}
}

// foreignRepository makes the checkout a clone that belongs to somebody else, as a folder mounted into a container does. Git refuses to speak of it,
// which must not end a build.
func (c *checkout) foreignRepository(t *testing.T) {
	t.Helper()
	const other = 65534
	folder := filepath.Join(c.dir, ".git")
	cmd := exec.Command("git", "init", "--quiet", c.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Lchown(folder, other, other); err != nil {
		t.Fatal(err)
	}
}

// checkDemo holds the one line against issue and README.
func checkDemo(t *testing.T, output string) {
	t.Helper()
	if strings.Count(output, "\n") != 1 || !strings.HasSuffix(output, "\n") {
		t.Fatalf("want one line, have %q", output)
	}
	var line struct {
		RunID         string `json:"run_id"`
		Status        string `json:"status"`
		Tasks         int    `json:"tasks"`
		ChildRuns     int    `json:"child_runs"`
		Retries       int    `json:"retries"`
		LostAttempts  int    `json:"lost_attempts"`
		WorkersKilled int    `json:"workers_killed"`
		WallMS        int    `json:"wall_ms"`
		Digest        string `json:"digest"`
		DigestDirect  string `json:"digest_direct"`
	}
	decoder := json.NewDecoder(strings.NewReader(output))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&line); err != nil {
		t.Fatalf("%v in %s", err, output)
	}
	if line.RunID == "" || line.Status != "completed" || line.Tasks < 3 || line.ChildRuns < 100 || line.Retries < 1 || line.LostAttempts < 1 || line.WorkersKilled != 1 || line.WallMS < 1 {
		t.Errorf("unexpected: %s", output)
	}
	if len(line.Digest) != 64 || line.Digest != line.DigestDirect {
		t.Errorf("the digests differ: %s", output)
	}
}
