package browser

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/testkit"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// outside does what a journey needs done outside of the browser.
type outside struct {
	t       *testing.T
	install *apptest.Install
	process *apptest.Process
	address string
	// release lets the one task that runs end; ended gets why the worker did.
	release chan struct{}
	ended   chan error
}

// start runs the server at the address that the browser knows.
func (o *outside) start() error {
	listener, err := new(net.ListenConfig).Listen(o.t.Context(), "tcp", o.address)
	if err != nil {
		return err
	}
	o.address = listener.Addr().String()
	o.process = o.install.ProcessWith(func(cfg *app.Config) {
		_ = cfg.Listener.Close()
		cfg.Listener = listener
		cfg.Grace = time.Minute // so that the worker keeps its task over a restart however slow: another attempt would log its line again
	})
	return nil
}

func (o *outside) restart(string) error {
	o.process.Stop()
	return o.start()
}

// work runs a worker with the token that the page has shown.
func (o *outside) work(token string) error {
	c, err := tenon.NewClient(tenon.WithAddress("http://"+o.address), tenon.WithToken(token), tenon.WithLogger(testkit.Logger(o.t)))
	if err != nil {
		return err
	}
	task := tenon.NewTask("greet-slowly", func(ctx tenon.Context, name string) (string, error) {
		ctx.Logger().Info("working on it", "name", name)
		select {
		case <-o.release:
			return "Hello, " + name + "!", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	worker, err := c.NewWorker(tenon.WithWorkflows(task), tenon.WithDrainTimeout(time.Millisecond))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(o.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.ended <- worker.Run(ctx)
	}()
	o.t.Cleanup(func() {
		cancel()
		<-done
		_ = c.Close()
	})
	return nil
}

// The dashboard's journey: sign up, make a token, start a worker with it, and see everything arrive without loading a page again, over a restart too.
func TestJourney(t *testing.T) {
	t.Parallel()
	o := &outside{t: t, install: apptest.NewInstall(t, testkit.DatabaseURL(t)), address: "127.0.0.1:0", release: make(chan struct{}), ended: make(chan error, 1)}
	must(t, o.start())
	mux := http.NewServeMux()
	for path, act := range map[string]func(string) error{
		"worker": o.work, "restart": o.restart,
		"release": func(string) error { o.release <- struct{}{}; return nil },
	} {
		mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = act(string(body))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	mux.HandleFunc("POST /ended", func(w http.ResponseWriter, _ *http.Request) {
		if err := <-o.ended; err != nil {
			_, _ = io.WriteString(w, err.Error())
		}
	})
	control := httptest.NewServer(mux)
	t.Cleanup(control.Close)
	got := drive(t, jobs{
		Base: "http://" + o.address, Users: map[string]account{}, Pages: []page{},
		Flows: []map[string]string{{"name": "journey", "control": control.URL, "workflow": "greet-slowly"}},
	})
	for _, problem := range got.Problems {
		t.Errorf("%s: %s: %s", problem.Page, problem.Kind, problem.Detail)
	}
}
