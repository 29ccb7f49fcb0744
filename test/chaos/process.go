package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tenon-run/tenon/internal/embedded"
)

// process is a child whose lines on standard error are kept, for those who wait for one and for the post-mortem.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of its end; read after done

	mu      sync.Mutex
	lines   []line
	changed chan struct{} // closed and made anew with each line
}

type line struct {
	at   time.Time
	text string
}

// startProcess starts a child that writes its log into folder too. It ends with this process, however that ends, where the system can do so.
func startProcess(name, folder string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	file, err := os.Create(filepath.Join(folder, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), file.Close())
	}
	cmd.SysProcAttr = embedded.ChildAttributes()
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		// The death signal follows the thread that started the child: it has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.read(io.TeeReader(stderr, file))
			p.err = cmd.Wait()
		}
		_ = file.Close() // the lines are kept here as well
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) read(stderr io.Reader) {
	in := bufio.NewReader(stderr)
	for {
		text, err := in.ReadString('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		p.lines = append(p.lines, line{time.Now(), strings.TrimSuffix(text, "\n")})
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// mark is how many lines there are, to wait for later ones.
func (p *process) mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}

// await waits for a line after mark that has all the parts.
func (p *process) await(ctx context.Context, mark int, parts ...string) (line, error) {
	for {
		p.mu.Lock()
		lines, changed := p.lines[mark:], p.changed
		p.mu.Unlock()
		for _, l := range lines {
			if containsAll(l.text, parts) {
				return l, nil
			}
		}
		mark += len(lines)
		select {
		case <-changed:
		case <-p.done:
			if p.mark() == mark {
				return line{}, fmt.Errorf("%s ended (%w) without a line %q: %s", p.name, errors.Join(p.err, errEnded), parts, p.tail())
			}
		case <-ctx.Done():
			return line{}, fmt.Errorf("%s has not said %q: %w: %s", p.name, parts, context.Cause(ctx), p.tail())
		}
	}
}

var errEnded = errors.New("it is no more") //nolint:gochecknoglobals // stands for an end without an error

// matching lists the lines that have all the parts.
func (p *process) matching(parts ...string) []line { return p.matchingAfter(0, parts...) }

// matchingAfter lists those after a mark.
func (p *process) matchingAfter(mark int, parts ...string) []line {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []line
	for _, l := range p.lines[mark:] {
		if containsAll(l.text, parts) {
			out = append(out, l)
		}
	}
	return out
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// field reads the value of a key of a line in slog's text format.
func (l line) field(key string) string {
	_, rest, _ := strings.Cut(l.text, " "+key+"=")
	if strings.HasPrefix(rest, `"`) {
		value, _, _ := strings.Cut(rest[1:], `"`)
		return value
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// tail is the end of the log, for errors.
func (p *process) tail() string {
	const most = 8
	p.mu.Lock()
	defer p.mu.Unlock()
	var out strings.Builder
	for _, l := range p.lines[max(0, len(p.lines)-most):] {
		out.WriteString("\n\t" + l.text)
	}
	return out.String()
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", s, p.name, err)
	}
	return nil
}

// kill ends the child as kill -9 does, and waits until it is gone.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.done
	return err
}

// stop asks the child to end and says how it did. One that does not end is killed.
func (p *process) stop(ctx context.Context) error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s does not end on SIGTERM: %w: %s", p.name, context.Cause(ctx), p.tail()), p.kill())
	}
	if p.err != nil {
		return fmt.Errorf("%s ended with %w: %s", p.name, p.err, p.tail())
	}
	return nil
}
