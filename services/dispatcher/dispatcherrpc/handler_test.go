package dispatcherrpc_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/internal/loop"
	"github.com/tenon-run/tenon/internal/testkit"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	workersv1 "github.com/tenon-run/tenon/proto/tenon/workers/v1"
	"github.com/tenon-run/tenon/proto/tenon/workers/v1/workersv1connect"
	"github.com/tenon-run/tenon/services/dispatcher"
	"github.com/tenon-run/tenon/services/dispatcher/dispatcherrpc"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const patience = 15 * time.Second

// owner answers like a shard's owner, and tells what sessions it lost.
type owner struct{ lost chan *busv1.LoseSession }

func (o *owner) Call(_ context.Context, _ int64, request *busv1.ShardRequest) (*busv1.ShardReply, int64, error) {
	if lose := request.GetLoseSession(); lose != nil {
		o.lost <- lose
	}
	return &busv1.ShardReply{Kind: &busv1.ShardReply_Session{Session: &busv1.OpenSessionReply{Epoch: 1}}}, 1, nil
}

// CallOnce implements dispatcher.Owners.
func (o *owner) CallOnce(ctx context.Context, tenantID int64, request *busv1.ShardRequest) (*busv1.ShardReply, int64, error) {
	return o.Call(ctx, tenantID, request)
}

// Moved implements dispatcher.Owners; the only owner stays.
func (o *owner) Moved(int32, int64) {}

// mux is the server's place for services, with a principal that has been let in already.
type mux struct {
	*http.ServeMux
	principal authn.Principal
}

func (m *mux) Handle(path string, handler http.Handler, service protoreflect.ServiceDescriptor) {
	if path != "/"+string(service.FullName())+"/" {
		panic("the service is mounted under another path than its own")
	}
	m.ServeMux.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(authn.With(r.Context(), m.principal)))
	}))
}

func (m *mux) HandleHTTP(pattern string, handler http.Handler) { m.ServeMux.Handle(pattern, handler) }

// A worker over HTTP registers for its own tenant, listens, is alive, and is missed when it hangs up.
func TestWorkerOverHTTP(t *testing.T) {
	pool := testkit.Database(t)
	var tenant int64
	spec, err := proto.Marshal(&registryv1.WorkflowSpec{Name: "flow", Tasks: []*registryv1.TaskSpec{{Name: "task"}}})
	must(t, err)
	must(t, pool.QueryRow(t.Context(), `with t as (insert into tenants (public_id, slug, display_name) values (gen_random_uuid(), 'acme', 'Acme') returning id),
		w as (insert into workflows (tenant_id, public_id, name, newest_version) select id, gen_random_uuid(), 'flow', 1 from t returning tenant_id, id)
		insert into workflow_versions (tenant_id, workflow_id, version, digest, spec) select tenant_id, id, 1, '', $1 from w returning tenant_id`, spec).Scan(&tenant))

	heard := &owner{lost: make(chan *busv1.LoseSession, 10)}
	svc, err := dispatcher.New(dispatcher.Config{Pool: pool, Bus: testkit.Bus(t), Owners: heard, Log: testkit.Logger(t), Instance: "one"})
	must(t, err)
	running := loop.Start(context.Background(), "dispatcher", svc.Run)
	t.Cleanup(func() { must(t, running.Stop(context.Background())) })

	var token flow.ID
	_, _ = rand.Read(token[:])
	m := &mux{http.NewServeMux(), authn.Principal{Kind: authn.KindWorker, TenantID: tenant, TokenID: token, Role: "worker"}}
	dispatcherrpc.Register(m, svc, dispatcherrpc.Elsewhere{})
	server := httptest.NewServer(m.ServeMux)
	t.Cleanup(server.Close)
	client := workersv1connect.NewWorkerServiceClient(server.Client(), server.URL)

	registered, err := client.Register(t.Context(), &workersv1.RegisterRequest{Name: "w", Actions: []string{"flow/task"}, Slots: 1})
	must(t, err)
	var storedToken flow.ID
	must(t, pool.QueryRow(t.Context(), "select token_id from workers where tenant_id = $1", tenant).Scan(&storedToken))
	if storedToken != token {
		t.Error("the worker was not registered with its caller's token")
	}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	stream, err := client.Listen(ctx, &workersv1.ListenRequest{WorkerId: registered.GetWorkerId(), Session: 1})
	must(t, err)
	if !stream.Receive() || !stream.Msg().GetOpened() {
		t.Fatalf("the first message is %v, error %v, want opened", stream.Msg(), stream.Err())
	}
	_, err = client.Heartbeat(t.Context(), &workersv1.HeartbeatRequest{WorkerId: registered.GetWorkerId(), Session: 1})
	must(t, err)
	hangUp()
	_ = stream.Close()
	select {
	case lose := <-heard.lost:
		if lose.GetSession() != 1 {
			t.Errorf("the owner heard %v", lose)
		}
	case <-time.After(patience):
		t.Error("the owner was not told that the stream broke")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (code %s)", err, connect.CodeOf(err))
	}
}
