package natsconf

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-run/tenon/internal/bus"
)

// The ports of a node that names none.
const (
	DefaultClientPort  = 4222
	DefaultClusterPort = 6222
	DefaultMonitorPort = 8222
)

// routeUser is who the servers of a cluster are to each other.
const routeUser = "tenon-route"

// Config describes a cluster and its users.
type Config struct {
	// Cluster is the cluster's name. Default "tenon".
	Cluster string
	// Nodes are its servers. One is a server alone; three survive the loss of one.
	Nodes []Node
	// Users are who may connect.
	Users []User
	// RoutePassword is what the servers show each other; required with more than one node.
	RoutePassword string
	// TLS encrypts all connections. Default none.
	TLS *TLS
}

// Node is one server.
type Node struct {
	Name string
	// Host is where clients and the other nodes reach it: a name or an address.
	Host string
	// ClientPort, ClusterPort and MonitorPort are where it listens, the last on 127.0.0.1 only. A MonitorPort of 0 is none.
	ClientPort, ClusterPort, MonitorPort int
}

// ParseNode reads "name", "name=host", "name=host:client", "name=host:client:cluster" or "name=host:client:cluster:monitor"; an IPv6
// address stands in brackets. The host is the name by default, the ports 4222, 6222 and 8222.
func ParseNode(text string) (Node, error) {
	name, rest, _ := strings.Cut(text, "=")
	node := Node{Name: name, Host: name, ClientPort: DefaultClientPort, ClusterPort: DefaultClusterPort, MonitorPort: DefaultMonitorPort}
	bad := func(what string) (Node, error) {
		return Node{}, fmt.Errorf("node %q: %s; write name=host:client-port:cluster-port:monitor-port, ports may be left out from the end", text, what)
	}
	if name == "" || strings.ContainsAny(name, "/\\\"' \t{}[]:") {
		return bad("it has no usable name")
	}
	if address, ports, ok := strings.Cut(rest, "]"); ok && strings.HasPrefix(address, "[") {
		node.Host, rest = address[1:], ports
	} else if rest != "" {
		node.Host, rest, _ = strings.Cut(rest, ":")
		rest = ":" + rest
	}
	if rest = strings.TrimPrefix(rest, ":"); rest != "" {
		ports := strings.Split(rest, ":")
		targets := []*int{&node.ClientPort, &node.ClusterPort, &node.MonitorPort}
		if len(ports) > len(targets) {
			return bad("it has too many ports")
		}
		for i, port := range ports {
			number, err := strconv.ParseUint(port, 10, 16)
			if err != nil || number == 0 && i < len(targets)-1 {
				return bad("\"" + port + "\" is no port")
			}
			*targets[i] = int(number)
		}
	}
	if node.Host == "" || strings.ContainsAny(node.Host, "/\\\"' \t{}@") {
		return bad("it has no usable host")
	}
	return node, nil
}

// User is one set of services with its key.
type User struct {
	// Services are what the user's processes run, in the order of bus.Services.
	Services []string
	// PublicKey is its NKey, which begins with U.
	PublicKey string
}

// Name is the services joined by "-", or "all".
func (u User) Name() string { return setName(u.Services) }

// TLS names files as the NATS servers see them; they are the same on each node.
type TLS struct {
	// CertFile and KeyFile are the node's own, for clients and for the other nodes: the certificate serves both ends (serverAuth and clientAuth).
	CertFile, KeyFile string
	// CAFile is what the certificates of the other nodes must come from.
	CAFile string
}

// ClientURL is the value of NATS_URL: all nodes, in order.
func (c Config) ClientURL() string {
	scheme := "nats"
	if c.TLS != nil {
		scheme = "tls"
	}
	list := make([]string, 0, len(c.Nodes))
	for _, node := range c.Nodes {
		list = append(list, scheme+"://"+address(node.Host, node.ClientPort))
	}
	return strings.Join(list, ",")
}

// Validate says what is wrong with the config.
func (c Config) Validate() error {
	switch {
	case len(c.Nodes) == 0:
		return errors.New("a cluster needs a node: name at least one")
	case len(c.Users) == 0:
		return errors.New("a cluster needs a user: name at least one set of services")
	case len(c.Nodes) > 1 && c.RoutePassword == "":
		return errors.New("the nodes of a cluster need a password for each other")
	case c.TLS != nil && (c.TLS.CertFile == "" || c.TLS.KeyFile == "" || c.TLS.CAFile == ""):
		return errors.New("TLS takes three files: the certificate, its key, and the CA that the other nodes' certificates come from")
	}
	for i, node := range c.Nodes {
		for _, other := range c.Nodes[:i] {
			if other.Name == node.Name {
				return fmt.Errorf("two nodes are named %s", node.Name)
			}
			if other.Host == node.Host && other.ClientPort == node.ClientPort {
				return fmt.Errorf("nodes %s and %s have one address, %s", other.Name, node.Name, address(node.Host, node.ClientPort))
			}
		}
	}
	return nil
}

// UsersFile returns the part that all nodes share: who may do what. It holds no secret.
func (c Config) UsersFile() (string, error) {
	var out strings.Builder
	out.WriteString("# Written by `tenond nats-config`, which writes it again: change what it is told instead.\n")
	out.WriteString("# Each user is a set of services. What is not allowed is refused, and an answer goes to whoever asked, once.\n")
	out.WriteString("authorization {\n  timeout: 5\n  users: [\n")
	for _, user := range c.Users {
		may, err := bus.PermissionsOf(user.Services...)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "    { # %s\n      nkey: %s\n      permissions: {\n", user.Name(), user.PublicKey)
		fmt.Fprintf(&out, "        publish: { allow: %s }\n", list(may.Publish))
		fmt.Fprintf(&out, "        subscribe: { allow: %s }\n", list(append([]string{bus.InboxPrefix(user.PublicKey) + ".>"}, may.Listen()...)))
		out.WriteString("        allow_responses: true\n      }\n    }\n")
	}
	out.WriteString("  ]\n}\n")
	return out.String(), nil
}

// NodeFile returns the configuration of one node, which includes the users' file from its own folder. It holds the cluster's password.
func (c Config) NodeFile(node Node) string {
	var out strings.Builder
	out.WriteString("# Written by `tenond nats-config`, which writes it again: change what it is told instead.\n")
	fmt.Fprintf(&out, "server_name: %s\n", quote(node.Name))
	fmt.Fprintf(&out, "listen: %s\n", quote(address(listenHost(node.Host), node.ClientPort)))
	fmt.Fprintf(&out, "client_advertise: %s\n", quote(address(node.Host, node.ClientPort)))
	if node.MonitorPort != 0 {
		fmt.Fprintf(&out, "http: %s # /healthz, /varz, /connz\n", quote(address("127.0.0.1", node.MonitorPort)))
	}
	out.WriteString("max_payload: 1MB # a message has at most 512 KiB, and its headers\n")
	out.WriteString("write_deadline: \"10s\" # a client that takes nothing for so long is cut off\nping_interval: \"20s\"\n")
	out.WriteString("lame_duck_duration: \"30s\" # SIGUSR2: send the clients to the other nodes over this time, then stop\nlame_duck_grace_period: \"2s\"\n")
	c.writeTLS(&out, "", false)
	out.WriteString("include './users.conf'\n")
	if len(c.Nodes) > 1 {
		c.writeCluster(&out, node)
	}
	return out.String()
}

func (c Config) writeCluster(out *strings.Builder, node Node) {
	name := c.Cluster
	if name == "" {
		name = "tenon"
	}
	fmt.Fprintf(out, "cluster {\n  name: %s\n", quote(name))
	fmt.Fprintf(out, "  listen: %s\n", quote(address(listenHost(node.Host), node.ClusterPort)))
	fmt.Fprintf(out, "  advertise: %s\n", quote(address(node.Host, node.ClusterPort)))
	fmt.Fprintf(out, "  authorization { user: %s, password: %s, timeout: 5 }\n", quote(routeUser), quote(c.RoutePassword))
	c.writeTLS(out, "  ", true)
	out.WriteString("  routes: [\n")
	for _, other := range c.Nodes {
		if other.Name != node.Name {
			route := url.URL{Scheme: "nats-route", User: url.UserPassword(routeUser, c.RoutePassword), Host: address(other.Host, other.ClusterPort)}
			fmt.Fprintf(out, "    %s\n", quote(route.String()))
		}
	}
	out.WriteString("  ]\n}\n")
}

func (c Config) writeTLS(out *strings.Builder, indent string, verify bool) {
	if c.TLS == nil {
		return
	}
	fmt.Fprintf(out, "%stls {\n%s  cert_file: %s\n%s  key_file: %s\n", indent, indent, quote(c.TLS.CertFile), indent, quote(c.TLS.KeyFile))
	if verify {
		fmt.Fprintf(out, "%s  ca_file: %s\n%s  verify: true\n", indent, quote(c.TLS.CAFile), indent)
	}
	fmt.Fprintf(out, "%s}\n", indent)
}

// listenHost is the address to listen on for one that is reached at host: loopback stays loopback, all else is any interface, since a
// host's name need not be the name of an interface.
func listenHost(host string) string {
	ip := net.ParseIP(host)
	switch {
	case host == "localhost":
		return "127.0.0.1"
	case ip == nil:
		return "0.0.0.0"
	case ip.IsLoopback():
		return host
	case ip.To4() == nil:
		return "::"
	default:
		return "0.0.0.0"
	}
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func list(subjects []string) string {
	quoted := make([]string, 0, len(subjects))
	for _, subject := range subjects {
		quoted = append(quoted, quote(subject))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote writes a string for NATS's parser, which knows these escapes.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

// setName is the file and the user of a set of services.
func setName(services []string) string {
	if len(services) == len(bus.Services()) {
		return bus.AllServices
	}
	return strings.Join(services, "-")
}

// ParseSet reads the name of a set, "all", or services between commas or hyphens, and returns them in their order, each once.
func ParseSet(text string) ([]string, error) {
	if text == bus.AllServices {
		return bus.Services(), nil
	}
	named := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '-' || r == ' ' })
	if _, err := bus.PermissionsOf(named...); err != nil {
		return nil, err
	}
	var services []string
	for _, service := range bus.Services() {
		if slices.Contains(named, service) {
			services = append(services, service)
		}
	}
	return services, nil
}
