package bus

import (
	"fmt"
	"slices"
	"strings"
)

// Permissions are the subjects that the NATS user of a process may use. What is not listed is refused. Beside them each user has an
// inbox of its own (InboxPrefix), and may answer the requests that it got.
type Permissions struct {
	// Publish lists what may be sent to, by Publish and by Request.
	Publish []string
	// Subscribe lists what may be heard by Subscribe.
	Subscribe []string
	// Serve lists what may be answered by Serve, and not be listened to in any other way.
	Serve []string
}

// AllServices names the user of a process that runs all services.
const AllServices = "all"

// everybody is what each process does, whatever it runs: it tells that it is there, hears of the others, asks them and may be asked how they are, hears of
// revoked tokens before it lets a call in, and of changed workflows before it uses a plan it remembers.
var everybody = Permissions{
	Publish:   []string{"tenon.presence", "tenon.presence.wanted", "tenon.process.*"},
	Subscribe: []string{"tenon.presence", "tenon.presence.wanted", "tenon.registry.changed.*", "tenon.revocations.beacon", "tenon.revoked"},
	Serve:     []string{"tenon.process.*"},
}

// permissions is the table of who says what: one row a service, in the order of --services. A new subject is a new word here.
var permissions = []struct {
	service string
	Permissions
}{
	{"identity", Permissions{Publish: []string{"tenon.revocations.beacon", "tenon.revoked"}}},
	{"registry", Permissions{Publish: []string{"tenon.registry.changed.*"}}},
	{"scheduler", Permissions{
		Publish:   []string{"tenon.dispatcher.*", "tenon.notices.*", "tenon.sessions.wanted", "tenon.shard.*.*", "tenon.shards.free"},
		Subscribe: []string{"tenon.logs.*", "tenon.notices.*", "tenon.sessions.wanted", "tenon.shards.free"},
		Serve:     []string{"tenon.shard.*.*"},
	}},
	{"dispatcher", Permissions{
		Publish:   []string{"tenon.logs.*", "tenon.shard.*.*", "tenon.worker.*"},
		Subscribe: []string{"tenon.dispatcher.*", "tenon.notices.*", "tenon.sessions.wanted"},
		Serve:     []string{"tenon.worker.*"},
	}},
	{"ingest", Permissions{}},
	{"frontend", Permissions{Subscribe: []string{"tenon.notices.*"}}},
}

// Services returns the names of all services, in their order.
func Services() []string {
	names := make([]string, 0, len(permissions))
	for _, row := range permissions {
		names = append(names, row.service)
	}
	return names
}

// PermissionsOf returns what a process that runs these services may do: the union, sorted. No service at all is an error, as is one that
// does not exist.
func PermissionsOf(services ...string) (Permissions, error) {
	if len(services) == 0 {
		return Permissions{}, fmt.Errorf("no service is named: name some of %s", strings.Join(Services(), ", "))
	}
	union := everybody.clone()
	for _, name := range services {
		i := slices.Index(Services(), name)
		if i < 0 {
			return Permissions{}, fmt.Errorf("there is no service %q: name some of %s", name, strings.Join(Services(), ", "))
		}
		union.Publish = append(union.Publish, permissions[i].Publish...)
		union.Subscribe = append(union.Subscribe, permissions[i].Subscribe...)
		union.Serve = append(union.Serve, permissions[i].Serve...)
	}
	for _, list := range []*[]string{&union.Publish, &union.Subscribe, &union.Serve} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return union, nil
}

func (p Permissions) clone() Permissions {
	return Permissions{Publish: slices.Clone(p.Publish), Subscribe: slices.Clone(p.Subscribe), Serve: slices.Clone(p.Serve)}
}

// Listen returns what the user may listen to in the words of a NATS configuration, where a queue group follows its subject.
func (p Permissions) Listen() []string {
	list := slices.Clone(p.Subscribe)
	for _, subject := range p.Serve {
		list = append(list, subject+" "+serveGroup)
	}
	return list
}
