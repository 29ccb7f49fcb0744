package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenon-run/tenon/internal/bus/natsconf"
)

type natsOptions struct {
	folder      string
	sets, nodes []string
	tls         natsconf.TLS
}

func natsCommand() *cobra.Command {
	var o natsOptions
	cmd := &cobra.Command{
		Use: "nats-config", Short: "Write the keys and the configuration of a NATS cluster",
		Long: "Makes an NKey for each set of services and a nats-server configuration for each node, in which a set's key may use the subjects of its services and no others.\n" +
			"Running it again keeps all keys and users in the folder, adds the sets that are new, and writes the configuration for the nodes that are named.",
		Example: "  tenond nats-config --out nats\n" +
			"  tenond nats-config --out nats --set identity,registry --set scheduler --node a=10.0.0.1 --node b=10.0.0.2 --node c=10.0.0.3",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return writeNATSConfig(o, cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.folder, "out", "nats", "folder for the keys and the configuration")
	cmd.Flags().StringArrayVar(&o.sets, "set", nil, `services that run together, between commas, or "all"; repeat it (default: each service alone, and all)`)
	cmd.Flags().StringArrayVar(&o.nodes, "node", nil,
		"name=host:client-port:cluster-port:monitor-port; ports may be left out (4222, 6222, 8222; a monitor port of 0 is none); repeat it (default: nats-1, nats-2, nats-3)")
	cmd.Flags().StringVar(&o.tls.CertFile, "tls-cert", "", "certificate of a node, as a path on the node; with --tls-key and --tls-ca it turns TLS on")
	cmd.Flags().StringVar(&o.tls.KeyFile, "tls-key", "", "key of the certificate")
	cmd.Flags().StringVar(&o.tls.CAFile, "tls-ca", "", "CA that the nodes' certificates come from")
	return cmd
}

func writeNATSConfig(o natsOptions, out io.Writer) error {
	request := natsconf.Request{Folder: o.folder}
	if o.tls != (natsconf.TLS{}) {
		request.TLS = &o.tls
	}
	for _, text := range o.sets {
		set, err := natsconf.ParseSet(text)
		if err != nil {
			return fmt.Errorf("--set %s: %w", text, err)
		}
		request.Sets = append(request.Sets, set)
	}
	for _, text := range o.nodes {
		node, err := natsconf.ParseNode(text)
		if err != nil {
			return fmt.Errorf("--node: %w", err)
		}
		request.Nodes = append(request.Nodes, node)
	}
	written, err := natsconf.Write(request)
	if err != nil {
		return err
	}
	for _, path := range written.NewSeeds {
		say(out, "new key        %s", path)
	}
	say(out, "users          %s", written.Files[0])
	for _, path := range written.Files[1:] {
		say(out, "node           nats-server -c %s", path)
	}
	for _, user := range written.Config.Users {
		say(out, "%-14s TENON_NATS_NKEY_FILE=%s", user.Name(), natsconf.SeedFile(o.folder, user.Services))
	}
	say(out, "all processes  NATS_URL=%s", written.Config.ClientURL())
	return nil
}
