// Package protocols proves that it does not matter how one speaks to Tenon: the same run, triggered and read through connect-go (Connect, gRPC
// and gRPC-Web, binary and JSON), Python's grpcio, connect-web under Node and curl, gives the same bytes. It has tests only.
//
// scripts/setup-test.sh installs the pinned packages of the clients in python/ and node/ into the checkout.
package protocols
