package registry_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tenon-run/tenon/internal/fault"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
	"github.com/tenon-run/tenon/services/registry"
)

func TestGet(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	first := b.put(t, spec("orders", "one"))
	second := b.put(t, spec("orders", "two"))
	for number, want := range []registry.Workflow{second, first, second} { // 0 is the newest
		got, err := b.svc.Get(b.ctx, "orders", number)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != want.ID || got.Version.Number != want.Version.Number || got.Version.Digest != want.Version.Digest || !proto.Equal(got.Version.Spec, want.Version.Spec) ||
			!got.Created.Equal(want.Created) || !got.Version.Created.Equal(want.Version.Created) {
			t.Errorf("Get(%d) = %+v, want %+v", number, got, want)
		}
	}
}

func TestGetUnknown(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.put(t, spec("orders", ""))
	for _, name := range []string{"mails", "", "no name", "a\x00b", strings.Repeat("a", 101)} {
		_, err := b.svc.Get(b.ctx, name, 0)
		if !fault.Is(err, fault.CodeNotFound) || fault.Of(err).Resource != (fault.Resource{Type: "workflow", Name: name}) || !strings.Contains(err.Error(), "PutWorkflow") {
			t.Errorf("Get(%q) = %v, resource %v", name, err, fault.Of(err).Resource)
		}
	}
	if _, err := b.svc.Get(b.ctx, "orders", 2); !fault.Is(err, fault.CodeNotFound) || !strings.Contains(err.Error(), "newest is 1") {
		t.Errorf("version 2 of one: %v", err)
	}
	for _, number := range []int{-1, 1 << 31} {
		if _, err := b.svc.Get(b.ctx, "orders", number); !fault.Is(err, fault.CodeInvalid) || fault.Of(err).Fields[0].Path != "version" {
			t.Errorf("version %d: %v", number, err)
		}
	}
	if _, err := b.svc.Get(t.Context(), "orders", 0); !fault.Is(err, fault.CodeUnauthenticated) {
		t.Errorf("without a tenant: %v", err)
	}
}

// What another tenant has does not exist.
func TestOtherTenant(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	mine := b.put(t, spec("orders", "secret"))
	for _, number := range []int{0, 1} {
		_, theirs := b.svc.Get(b.other, "orders", number)
		_, nobodys := b.svc.Get(b.other, "nothing", number)
		if !fault.Is(theirs, fault.CodeNotFound) || strings.ReplaceAll(theirs.Error(), "orders", "nothing") != nobodys.Error() {
			t.Errorf("Get(%d) from another tenant: %v, of nothing at all: %v", number, theirs, nobodys)
		}
	}
	if _, _, err := b.svc.ListVersions(b.other, "orders", registry.Page{}); !fault.Is(err, fault.CodeNotFound) {
		t.Errorf("ListVersions from another tenant: %v", err)
	}
	if list, next, err := b.svc.List(b.other, registry.Page{}); err != nil || len(list) != 0 || next != "" {
		t.Errorf("List from another tenant: %v, %q, %v", list, next, err)
	}
	theirs, created, err := b.svc.Put(b.other, spec("orders", "other"))
	if err != nil || !created || theirs.Version.Number != 1 || theirs.ID == mine.ID {
		t.Errorf("the same name in another tenant: %+v, %v, %v", theirs, created, err)
	}
	if got, err := b.svc.Get(b.ctx, "orders", 0); err != nil || got.Version.Spec.GetDescription() != "secret" {
		t.Errorf("after it: %+v, %v", got, err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("w%d", i)
		want = append(want, name)
		b.put(t, spec(name, "one"))
	}
	b.put(t, spec("w3", "two"))
	for _, size := range []int{0, 1, 3, 6, 7, 8, 5000} {
		var names []string
		page := registry.Page{Size: size}
		for pages := 0; ; pages++ {
			list, next, err := b.svc.List(b.ctx, page)
			if err != nil || pages > 7 {
				t.Fatal(pages, err)
			}
			if size > 0 && len(list) > size || next != "" && len(list) != size {
				t.Errorf("size %d: %d items, next %q", size, len(list), next)
			}
			for _, w := range list {
				names = append(names, w.Name)
				if want := map[bool]int{true: 2, false: 1}[w.Name == "w3"]; w.Version.Number != want {
					t.Errorf("%s has version %d, want the newest, %d", w.Name, w.Version.Number, want)
				}
			}
			if next == "" {
				break
			}
			page.Token = next
		}
		if !slices.Equal(names, want) {
			t.Errorf("size %d: %v, want %v", size, names, want)
		}
	}
}

func TestListVersions(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for i := range 5 {
		b.put(t, spec("orders", fmt.Sprint(i+1)))
	}
	for _, size := range []int{0, 1, 2, 5, 6} {
		var numbers []int
		page := registry.Page{Size: size}
		for {
			list, next, err := b.svc.ListVersions(b.ctx, "orders", page)
			if err != nil || len(numbers) > 5 {
				t.Fatal(numbers, err)
			}
			for _, v := range list {
				numbers = append(numbers, v.Number)
				if v.Spec.GetDescription() != fmt.Sprint(v.Number) {
					t.Errorf("version %d is %q", v.Number, v.Spec.GetDescription())
				}
			}
			if next == "" {
				break
			}
			page.Token = next
			// Rows that come between two pages neither shift nor repeat anything.
			b.put(t, spec("orders", "later "+next))
		}
		if want := numbers[0]; len(numbers) != want || !slices.IsSortedFunc(numbers, func(a, b int) int { return b - a }) {
			t.Errorf("size %d: %v", size, numbers)
		}
		for _, sql := range []string{"delete from workflow_versions where version > 5", "update workflows set newest_version = 5"} {
			if _, err := b.pool.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := b.svc.ListVersions(b.ctx, "mails", registry.Page{}); !fault.Is(err, fault.CodeNotFound) {
		t.Errorf("versions of nothing: %v", err)
	}
}

// A page of large declarations ends early and loses nothing.
func TestListIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for i := range 4 {
		s := spec(fmt.Sprintf("w%d", i), "")
		parents := []string{"only"}
		for n := range 299 { // close to 1 MiB
			s.Tasks = append(s.Tasks, &registryv1.TaskSpec{Name: fmt.Sprintf("%s%03d", strings.Repeat("t", 90), n), Parents: slices.Clone(parents)})
			if len(parents) < 36 {
				parents = append(parents, s.Tasks[n+1].GetName())
			}
		}
		b.put(t, s)
	}
	var names []string
	var pages int
	for page := (registry.Page{}); ; pages++ {
		list, next, err := b.svc.List(b.ctx, page)
		if err != nil || pages > 4 {
			t.Fatal(pages, err)
		}
		for _, w := range list {
			names = append(names, w.Name)
		}
		if next == "" {
			break
		}
		page.Token = next
	}
	if want := []string{"w0", "w1", "w2", "w3"}; !slices.Equal(names, want) || pages == 0 {
		t.Errorf("%v in %d pages, want all in several", names, pages+1)
	}
}

func TestBadPageTokens(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for i := range 3 {
		b.put(t, spec("orders", fmt.Sprint(i)))
		b.put(t, spec(fmt.Sprintf("w%d", i), ""))
	}
	_, ofWorkflows, err := b.svc.List(b.ctx, registry.Page{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, ofVersions, err := b.svc.ListVersions(b.ctx, "orders", registry.Page{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	bad := []string{
		"x", "!", encode("w"), encode("w:"), encode("w:a b"), encode("w:\x00"), encode("v:orders"), encode("v:0:orders"), encode("v:-1:orders"),
		encode("v:99999999999:orders"), encode("v:1:w0"), ofVersions[:len(ofVersions)-1] + "!", ofWorkflows + "=",
	}
	for _, token := range append(slices.Clone(bad), ofVersions) {
		_, _, err := b.svc.List(b.ctx, registry.Page{Token: token})
		if !fault.Is(err, fault.CodeInvalid) || len(fault.Of(err).Fields) != 1 || fault.Of(err).Fields[0].Path != "page_token" {
			t.Errorf("List with the token %q: %v", token, err)
		}
	}
	for _, token := range append(slices.Clone(bad), ofWorkflows) {
		_, _, err := b.svc.ListVersions(b.ctx, "orders", registry.Page{Token: token})
		if !fault.Is(err, fault.CodeInvalid) || len(fault.Of(err).Fields) != 1 || fault.Of(err).Fields[0].Path != "page_token" {
			t.Errorf("ListVersions with the token %q: %v", token, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	if _, err := registry.New(registry.Config{}); !fault.Is(err, fault.CodeInvalid) {
		t.Errorf("an empty config: %v", err)
	}
	if _, err := registry.New(registry.Config{Pool: b.pool, Bus: b.bus}); err == nil || !strings.Contains(err.Error(), "Log") {
		t.Errorf("without a log: %v", err)
	}
}
