package checkout

import (
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenon-run/tenon/internal/testkit"
)

// lastLine is the last that `tenond dev` prints before it waits.
const lastLine = "Ctrl-C stops everything."

// greeting is what `tenond dev` prints for a stranger.
type greeting struct {
	result, address, signIn, curl string
}

var greetingLines = map[string]*regexp.Regexp{
	"result":  regexp.MustCompile(`(?m)^Run run_\w+ completed in .*: ([1-9]\d*) child runs parsed [1-9]\d* packages`),
	"address": regexp.MustCompile(`(?m)^Tenon is up at (http://127\.0\.0\.1:\d+)$`),
	"sign-in": regexp.MustCompile(`(?m)^  sign in +(\S+  password \S+  tenant \S+)$`),
	"curl":    regexp.MustCompile(`(?m)^  (curl .*)$`),
}

func readGreeting(t *testing.T, output string) greeting {
	t.Helper()
	found := map[string]string{}
	for name, line := range greetingLines {
		match := line.FindStringSubmatch(output)
		if match == nil {
			t.Fatalf("no line with the %s in:\n%s", name, output)
		}
		found[name] = match[1]
	}
	return greeting{found["result"], found["address"], found["sign-in"], found["curl"]}
}

// A stranger's day: the port is taken, the curl line is pasted, a second start is tried, the power fails, it is started again, and stopped.
func TestMakeDev(t *testing.T) {
	t.Parallel()
	for _, who := range everybody(t) {
		t.Run(who.name, func(t *testing.T) {
			t.Parallel()
			c := newCheckout(t, who)
			port := takenPort(t)
			dev := []string{"make", "dev", "ARGS=--port " + strconv.Itoa(port)}

			first := c.start(t, nil, dev[0], dev[1:]...)
			hello := readGreeting(t, first.until(t, lastLine))
			address, err := url.Parse(hello.address)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := strconv.Atoi(address.Port()); err != nil || got <= port || got >= port+100 {
				t.Errorf("it listens on %s, %v; want one of the next free ones after %d", hello.address, err, port)
			}
			if folder := otherFolder(t, who, first.stderr.String()); folder != "" {
				t.Cleanup(func() { removeOther(t, folder) })
				first.folder = append(first.folder, folder)
			}
			c.paste(t, hello.curl)
			c.startTwice(t, hello.address, dev...)

			if err := syscall.Kill(first.running(t, filepath.Join(c.dir, ".tenon")), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if rest, err := first.end(t); err == nil || !strings.Contains(first.stderr.String(), "killed") {
				t.Errorf("make knows nothing of the kill: %v, %s%s", err, rest, first.stderr)
			}

			// At once: what the first one left is still about to end.
			second := c.start(t, nil, dev[0], dev[1:]...)
			second.folder = first.folder
			again := readGreeting(t, second.until(t, lastLine))
			if again.signIn != hello.signIn {
				t.Errorf("after a kill -9 the sign-in is %q, it was %q", again.signIn, hello.signIn)
			}
			c.paste(t, again.curl)

			second.interrupt(t)
			rest, _ := second.end(t) // make and go run end by the signal themselves, whatever tenond's own end
			if !strings.Contains(rest, "Stopping ...") || strings.Contains(second.stderr.String(), "exit status") || strings.Contains(second.stderr.String(), "tenond:") {
				t.Errorf("Ctrl-C did not end it in order: %s\n%s", rest, second.stderr)
			}
			for _, left := range second.left(t) {
				t.Errorf("left over after Ctrl-C: %s", left)
			}
			first.awaitNone(t)
		})
	}
}

// takenPort holds a port until the test's end.
func takenPort(t *testing.T) int {
	t.Helper()
	const highest = 65_000 // there are free ones above it
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		if port := listener.Addr().(*net.TCPAddr).Port; port < highest {
			return port
		}
	}
}

// paste runs the curl line in a shell, as one who copies it into a terminal.
func (c *checkout) paste(t *testing.T, line string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	var answer struct {
		Run struct {
			Status string `json:"status"`
			Output struct {
				Packages int `json:"packages"`
			} `json:"output"`
		} `json:"run"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if answer.Run.Status != "RUN_STATUS_COMPLETED" || answer.Run.Output.Packages < 100 {
		t.Errorf("ended as %s with %d packages: %.500s", answer.Run.Status, answer.Run.Output.Packages, out)
	}
}

// startTwice starts the command while it runs already.
func (c *checkout) startTwice(t *testing.T, address string, dev ...string) {
	t.Helper()
	run := c.start(t, nil, dev[0], dev[1:]...)
	run.folder = nil // of which the first one's processes are full
	_, err := run.end(t)
	said := ""
	for line := range strings.Lines(run.stderr.String()) {
		if strings.HasPrefix(line, "tenond:") {
			said += line
		}
	}
	if err == nil || strings.Count(said, "\n") != 1 || !strings.Contains(said, address+" ") {
		t.Errorf("a second start: %v, %q; want a failure and one line that names %s", err, run.stderr, address)
	}
}

// removeOther removes the data that root's checkout keeps elsewhere. Nobody else does: it outlives the process, as .tenon does.
func removeOther(t *testing.T, folder string) {
	t.Helper()
	if err := os.RemoveAll(folder); err != nil {
		t.Error(err)
	}
	_ = os.Remove(filepath.Dir(folder)) // others may have their folders there
}

// Postgres's end by itself is the end of everything, with a word about it.
func TestDevEndsWithItsPostgres(t *testing.T) {
	t.Parallel()
	who := everybody(t)
	c := newCheckout(t, who[len(who)-1]) // whose data is in the checkout
	run := c.start(t, nil, "go", "run", "./cmd/tenond", "dev", "--no-example", "--port", "0")
	run.until(t, lastLine)
	text, err := os.ReadFile(filepath.Join(c.dir, ".tenon", "postgres", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	if rest, err := run.end(t); err == nil || !strings.Contains(run.stderr.String(), "postgres has ended by itself") {
		t.Errorf("%v, %s%s", err, rest, run.stderr)
	}
	for _, left := range run.left(t) {
		t.Errorf("left over: %s", left)
	}
}

// With DATABASE_URL no Postgres is started, and one that may lose what it has acknowledged is refused.
func TestDevOnAPostgresOfYours(t *testing.T) {
	t.Parallel()
	c := newCheckout(t, everybody(t)[0])
	address := testkit.EmptyDatabaseURL(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	// Stands for fsync = off, which the tests' own Postgres does not let itself be given.
	_, err = conn.Exec(t.Context(), "alter database "+pgx.Identifier{conn.Config().Database}.Sanitize()+" set synchronous_commit = off")
	if err != nil {
		t.Fatal(err)
	}
	dev := []string{"run", "./cmd/tenond", "dev", "--no-example", "--port", "0"}
	refused := c.start(t, []string{"DATABASE_URL=" + address}, "go", dev...)
	rest, endErr := refused.end(t)
	if endErr == nil || !regexp.MustCompile(`\Atenond: .*synchronous_commit = off.*\nexit status 1\n\z`).MatchString(refused.stderr.String()) {
		t.Errorf("without durability: %v, %s%s; want one line that names the setting", endErr, rest, refused.stderr)
	}
	if _, err := conn.Exec(t.Context(), "alter database "+pgx.Identifier{conn.Config().Database}.Sanitize()+" reset all"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	run := c.start(t, []string{"DATABASE_URL=" + address}, "go", dev...)
	run.until(t, lastLine)
	if _, err := os.Stat(filepath.Join(c.dir, ".tenon", "postgres")); err == nil {
		t.Error("a Postgres was started beside the one of DATABASE_URL")
	}
	run.interrupt(t)
	if rest, _ := run.end(t); !strings.Contains(rest, "Stopping ...") || run.stderr.String() != "" {
		t.Errorf("Ctrl-C did not end it in order: %s\n%s", rest, run.stderr)
	}
	for _, left := range run.left(t) {
		t.Errorf("left over: %s", left)
	}
}
