package pieces

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/tenon-run/tenon/internal/app"
	"github.com/tenon-run/tenon/internal/app/apptest"
	"github.com/tenon-run/tenon/internal/authz"
	"github.com/tenon-run/tenon/internal/testkit"
	runsv1 "github.com/tenon-run/tenon/proto/tenon/runs/v1"
	"github.com/tenon-run/tenon/proto/tenon/runs/v1/runsv1connect"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	tenon "github.com/tenon-run/tenon/sdk/go"
)

// Each service is a process of its own; whichever is called, the call arrives, streams and pages included.
func TestAnyProcessAcceptsAnyCall(t *testing.T) {
	t.Parallel()
	h := setup(t, app.Identity)
	processes := map[string]*apptest.Process{app.Identity: h.identity}
	for _, service := range []string{app.Registry, app.Scheduler, app.Dispatcher, app.Ingest, app.Frontend} {
		processes[service] = h.Process(service)
	}
	workflow := double()
	h.work(h.client(processes[app.Ingest].Address(), true), tenon.WithWorkflows(workflow))
	for service, process := range processes {
		c := h.client(process.Address(), false)
		h.until("the workflow is known through "+service, func() bool {
			n, err := workflow.TriggerAndWait(t.Context(), c, 21)
			if connect.CodeOf(err) == connect.CodeNotFound || connect.CodeOf(err) == connect.CodeUnavailable {
				return false
			}
			if err != nil || n != 42 {
				t.Fatalf("through %s: %d, %v", service, n, err)
			}
			return true
		})
		for protocol, options := range map[string][]connect.ClientOption{"connect": nil, "grpc-web": {connect.WithGRPCWeb()}} {
			checkWatch(t, h, process.Address(), service+" by "+protocol, options...)
		}
		for path, want := range map[string]string{"/": "<html", "/.well-known/jwks.json": `"keys"`} {
			page, err := http.Get(process.Address() + path) //nolint:noctx // a test's own server
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(page.Body)
			_ = page.Body.Close()
			if err != nil || page.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
				t.Errorf("%s through %s: status %d, %v", path, service, page.StatusCode, err)
			}
		}
	}
}

// checkWatch triggers a run and watches it to its end through one process.
func checkWatch(t *testing.T, h *house, address, name string, options ...connect.ClientOption) {
	t.Helper()
	_, secret := apptest.Token(t, h.identity.App, h.owner, authz.RoleDeveloper, time.Hour)
	runs := runsv1connect.NewRunServiceClient(&http.Client{Transport: bearer(secret)}, address, options...)
	triggered, err := runs.Trigger(t.Context(), &runsv1.TriggerRequest{Run: &runsv1.NewRun{Workflow: "double", InputJson: "4"}})
	if err != nil {
		t.Fatalf("%s: trigger: %v", name, err)
	}
	stream, err := runs.WatchRun(t.Context(), &runsv1.WatchRunRequest{RunId: triggered.GetRunId()})
	if err != nil {
		t.Fatalf("%s: watch: %v", name, err)
	}
	defer func() { _ = stream.Close() }()
	var last *runsv1.Run
	for stream.Receive() {
		if run := stream.Msg().GetRun(); run != nil {
			last = run
		}
	}
	if stream.Err() != nil || last.GetOutputJson() != "8" {
		t.Errorf("%s: the watch ended with %v and output %q", name, stream.Err(), last.GetOutputJson())
	}
}

type bearer string

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// A service that nobody runs gives a clear Unavailable in the caller's own protocol, and comes back.
func TestAServiceThatIsAway(t *testing.T) {
	t.Parallel()
	h := setup(t, app.Identity, app.Registry)
	_, secret := apptest.Token(t, h.identity.App, h.owner, authz.RoleDeveloper, time.Hour)
	for name, options := range map[string][]connect.ClientOption{"connect": nil, "json": {connect.WithProtoJSON()}, "grpc-web": {connect.WithGRPCWeb()}} {
		runs := runsv1connect.NewRunServiceClient(&http.Client{Transport: bearer(secret)}, h.identity.Address(), options...)
		_, err := runs.ListRuns(t.Context(), &runsv1.ListRunsRequest{})
		if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "scheduler") {
			t.Errorf("%s: a service without a process gave %v", name, err)
		}
	}
	scheduler := h.Process(app.Scheduler)
	runs := runsv1connect.NewRunServiceClient(&http.Client{Transport: bearer(secret)}, h.identity.Address())
	listed := func() error {
		_, err := runs.ListRuns(t.Context(), &runsv1.ListRunsRequest{})
		return err
	}
	h.until("the scheduler is found", func() bool { return listed() == nil })
	scheduler.Stop()
	if err := listed(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("after its process has left, the service gave %v", err)
	}
	// A call that was passed on once is not passed on again.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.identity.Address()+runsv1connect.RunServiceListRunsProcedure, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Tenon-Forwarded", "1")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a call that was passed on already got status %d", answer.StatusCode)
	}
}

// A worker's calls that a load balancer gives to another dispatcher arrive at the one that holds its stream.
func TestWorkerCallsReachTheDispatcherOfItsStream(t *testing.T) {
	t.Parallel()
	h := setup(t, app.Identity, app.Registry, app.Scheduler)
	one, two := h.Process(app.Dispatcher), h.Process(app.Dispatcher)
	workflow := double()
	c := h.client(one.Address(), false)
	_, secret := apptest.Token(t, h.identity.App, h.owner, "", time.Hour)
	here := workersv1connect.NewWorkerServiceClient(&http.Client{Transport: bearer(secret)}, one.Address())
	there := workersv1connect.NewWorkerServiceClient(&http.Client{Transport: bearer(secret)}, two.Address())
	h.work(h.client(one.Address(), true), tenon.WithWorkflows(workflow)) // declares it
	h.until("the workflow is known", func() bool { _, err := workflow.TriggerAndWait(t.Context(), c, 1); return err == nil })

	registered, err := here.Register(t.Context(), &workersv1.RegisterRequest{
		Name: "by hand", Actions: []string{"double/double"}, Slots: 1, Runtime: &workersv1.Runtime{Language: "none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := here.Listen(ctx, &workersv1.ListenRequest{WorkerId: registered.GetWorkerId(), Session: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = stream.Close() }()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	heartbeat := &workersv1.HeartbeatRequest{WorkerId: registered.GetWorkerId(), Session: 1}
	if _, err := here.Heartbeat(t.Context(), heartbeat); err != nil {
		t.Errorf("at its own dispatcher: %v", err)
	}
	h.until("the dispatchers know each other", func() bool { _, err := there.Heartbeat(t.Context(), heartbeat); return err == nil })
	// What the holder answers comes back whole.
	_, err = there.Heartbeat(t.Context(), &workersv1.HeartbeatRequest{WorkerId: registered.GetWorkerId(), Session: 7})
	if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "session 7") {
		t.Errorf("a wrong session gave %v", err)
	}
	one.Stop()
	if _, err := there.Heartbeat(t.Context(), heartbeat); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("with its dispatcher gone the worker heard %v", err)
	}
}

// Schedulers share the shards evenly, hand over in order, and runs go on through it.
func TestSchedulersShareTheShards(t *testing.T) {
	t.Parallel()
	h := setup(t, app.Identity, app.Registry, app.Dispatcher)
	workflow := double()
	h.work(h.client(h.identity.Address(), true), tenon.WithWorkflows(workflow), tenon.WithSlots(20))
	var schedulers []*apptest.Process
	grow := func(want ...int) {
		t.Helper()
		schedulers = append(schedulers, h.Process(app.Scheduler))
		h.until("the shards are shared", func() bool { return fits(h.shards(), want) })
	}
	c := h.client(h.identity.Address(), false)
	runs := func() {
		t.Helper()
		h.until("runs complete", func() bool {
			for n := range 20 {
				got, err := workflow.TriggerAndWait(t.Context(), c, n)
				if code := connect.CodeOf(err); code == connect.CodeNotFound || code == connect.CodeUnavailable {
					return false
				}
				if err != nil || got != 2*n {
					t.Fatalf("%d, %v", got, err)
				}
			}
			return true
		})
	}
	grow(64)
	runs()
	grow(32, 32)
	runs()
	grow(21, 21, 22)
	runs()
	schedulers[0].Stop()
	h.until("two share what was three's", func() bool { return fits(h.shards(), []int{32, 32}) })
	runs()
	schedulers[1].Stop()
	h.until("one has all", func() bool { return fits(h.shards(), []int{64}) })
	runs()
	var lost int
	if err := h.pool.QueryRow(t.Context(), "SELECT count(*) FROM attempts WHERE outcome = 'lost'").Scan(&lost); err != nil || lost > 0 {
		t.Errorf("orderly hand-overs lost %d attempts, %v", lost, err)
	}
}

func fits(counts map[string]int, want []int) bool {
	if len(counts) != len(want) {
		return false
	}
	for _, n := range want {
		found := false
		for owner, have := range counts {
			if have == n && owner != "nobody" {
				delete(counts, owner)
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// Over TLS the same holds, between the processes too.
func TestTLS(t *testing.T) {
	t.Parallel()
	database := testkit.DatabaseURL(t)
	install := apptest.NewInstall(t, database)
	certificate, roots := selfSigned(t)
	secure := func(cfg *app.Config) {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }}
		cfg.PeerRoots = roots
	}
	first := install.ProcessWith(secure, app.Identity, app.Registry, app.Frontend)
	second := install.ProcessWith(secure, app.Scheduler, app.Dispatcher)
	if !strings.HasPrefix(first.Address(), "https://127.0.0.1:") {
		t.Fatalf("the address is %s", first.Address())
	}
	owner := apptest.Tenant(t, first.App, "acme")
	_, secret := apptest.Token(t, first.App, owner, authz.RoleDeveloper, time.Hour)
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t}
	workflow := double()
	_, workerSecret := apptest.Token(t, first.App, owner, "", time.Hour)
	for i, token := range []string{workerSecret, secret} {
		for _, process := range []*apptest.Process{first, second} {
			c, err := tenon.NewClient(tenon.WithAddress(process.Address()), tenon.WithToken(token), tenon.WithTLSRootCAFile(file), tenon.WithLogger(testkit.Logger(t)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if i == 0 {
				h.work(c, tenon.WithWorkflows(workflow))
				continue
			}
			h.until("runs complete", func() bool { n, err := workflow.TriggerAndWait(t.Context(), c, 2); return err == nil && n == 4 })
		}
	}
	// The dashboard reaches the API over the process's own certificate.
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	defer browser.CloseIdleConnections()
	for _, process := range []*apptest.Process{first, second} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, process.Address()+"/sign-in", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		page, err := browser.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = page.Body.Close()
		if page.StatusCode != http.StatusOK {
			t.Errorf("the sign-in page has status %d", page.StatusCode)
		}
	}
}

func selfSigned(t *testing.T) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tenon test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, roots
}
