package identity

import (
	"strings"
	"testing"
	"time"

	"github.com/tenon-run/tenon/internal/authn"
	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
)

func TestSessionsAreListedAndSignedOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.signUp(t, "ann@example.com")
	browser := authn.WithOrigin(t.Context(), authn.Origin{Address: "192.0.2.7", UserAgent: "Browser/1 \x1b[31m\xff" + strings.Repeat("é", 200)})
	session, err := b.svc.SignIn(browser, "ann@example.com", password)
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	third, err := b.svc.SignIn(t.Context(), "ann@example.com", password)
	if err != nil {
		t.Fatal(fault.Detail(err))
	}
	ann := b.verify(t, session.Secret, "")
	var list []OpenSession
	walk(t, func(page Page) (string, error) {
		part, next, err := b.svc.ListSessions(t.Context(), ann, page)
		list = append(list, part...)
		return next, err
	})
	if len(list) != 3 {
		t.Fatalf("%d sessions", len(list))
	}
	mine := list[1] // newest first
	if !mine.Current || list[0].Current || list[2].Current || mine.ID != ann.TokenID || mine.Address != "192.0.2.7" {
		t.Errorf("sessions %+v", list)
	}
	if want := "Browser/1 [31m" + strings.Repeat("é", 121); mine.UserAgent != want || list[0].UserAgent != "" {
		t.Errorf("user agents %q, %q", mine.UserAgent, list[0].UserAgent)
	}
	if time.Since(mine.LastUsed) > time.Minute || !mine.Expires.Equal(session.Expires) {
		t.Errorf("session %+v", mine)
	}

	other := b.verify(t, third.Secret, "")
	guarded, stop := b.verifier.Guard(t.Context(), other)
	defer stop()
	for range 2 { // twice is fine
		if err := b.svc.SignOutSession(t.Context(), ann, other.TokenID); err != nil {
			t.Fatal(fault.Detail(err))
		}
	}
	<-guarded.Done()
	if _, err := b.verifier.Verify(t.Context(), third.Secret, ""); !fault.HasReason(err, authn.ReasonTokenRevoked) {
		t.Errorf("after its sign-out: %v", err)
	}
	if list, _, err = b.svc.ListSessions(t.Context(), ann, Page{}); err != nil || len(list) != 2 {
		t.Errorf("%d sessions are left, %v", len(list), err)
	}
	b.verify(t, session.Secret, "")
}

func TestSignOutOfAnotherUsersSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann, bob := b.signUp(t, "ann@example.com"), b.signUp(t, "bob@example.com")
	caller, victim := b.verify(t, ann.Secret, ""), b.verify(t, bob.Secret, "")
	theirs := b.svc.SignOutSession(t.Context(), caller, victim.TokenID)
	wantFault(t, theirs, fault.CodeNotFound, "")
	wantFault(t, b.svc.SignOutSession(t.Context(), caller, flow.ID{9}), fault.CodeNotFound, "")
	b.verify(t, bob.Secret, "")
	if list, _, err := b.svc.ListSessions(t.Context(), caller, Page{}); err != nil || len(list) != 1 || !list[0].Current {
		t.Errorf("ann sees %+v, %v", list, err)
	}
}

func TestSignOutOtherSessions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kept := b.signUp(t, "ann@example.com")
	bob := b.signUp(t, "bob@example.com")
	var others []Session
	for range 3 {
		session, err := b.svc.SignIn(t.Context(), "ann@example.com", password)
		if err != nil {
			t.Fatal(fault.Detail(err))
		}
		others = append(others, session)
	}
	ann := b.verify(t, kept.Secret, "")
	guarded, stop := b.verifier.Guard(t.Context(), b.verify(t, others[2].Secret, ""))
	defer stop()
	ended, err := b.svc.SignOutOtherSessions(t.Context(), ann)
	if err != nil || ended != 3 {
		t.Fatalf("%d ended, %v", ended, fault.Detail(err))
	}
	began := time.Now() // a second from the answer
	<-guarded.Done()
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %s", took)
	}
	for _, session := range others {
		if _, err := b.verifier.Verify(t.Context(), session.Secret, ""); !fault.HasReason(err, authn.ReasonTokenRevoked) {
			t.Errorf("after: %v", err)
		}
	}
	b.verify(t, kept.Secret, "")
	b.verify(t, bob.Secret, "")
	if ended, err = b.svc.SignOutOtherSessions(t.Context(), ann); err != nil || ended != 0 {
		t.Errorf("a second time: %d, %v", ended, err)
	}
}

func TestMaintenanceForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ann := b.signUp(t, "ann@example.com")
	if _, err := b.pool.Exec(t.Context(), "insert into user_sessions (user_id, id, expires_at) values ($1, gen_random_uuid(), now() - interval '2 d')", ann.User.ID); err != nil {
		t.Fatal(err)
	}
	b.svc.maintain(t.Context())
	var count int
	if err := b.pool.QueryRow(t.Context(), "select count(*) from user_sessions").Scan(&count); err != nil || count != 1 {
		t.Errorf("%d sessions are kept, %v", count, err)
	}
	b.verify(t, ann.Secret, "")
}
