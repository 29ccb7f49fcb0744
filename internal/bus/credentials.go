package bus

import (
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Credentials say who a process is to NATS, and whom it trusts. The zero value is nobody, on a server that asks for nothing.
type Credentials struct {
	// NKeyFile holds the seed of an NKey, as `tenond nats-config` writes it. TENON_NATS_NKEY_FILE; default none.
	NKeyFile string
	// CredentialsFile holds a user JWT and its seed, as `nsc` writes them. TENON_NATS_CREDENTIALS_FILE; default none.
	CredentialsFile string
	// CAFile holds the certificates that the server's own must come from, as PEM. TENON_NATS_CA_FILE; default: those of the system.
	CAFile string
}

// inboxKeyLetters is how much of the public key an inbox carries: enough that no two keys share it, and few bytes in each request.
const inboxKeyLetters = 12

// InboxPrefix is the subject under which the answers to a user's requests arrive. Only this user may listen there.
func InboxPrefix(publicKey string) string {
	return "_INBOX_" + publicKey[:min(len(publicKey), inboxKeyLetters)]
}

// Options reads the files, so that a bad one is told at the start, and returns what nats.Connect needs besides the function Options. The
// seeds are read again at each reconnect, and kept nowhere.
func (c Credentials) Options() ([]nats.Option, error) {
	var options []nats.Option
	if c.NKeyFile != "" && c.CredentialsFile != "" {
		return nil, errors.New("both TENON_NATS_NKEY_FILE and TENON_NATS_CREDENTIALS_FILE are set: a process is one user, keep one of them")
	}
	if path := c.NKeyFile + c.CredentialsFile; path != "" {
		public, err := userKey(path)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.CustomInboxPrefix(InboxPrefix(public)))
	}
	if c.NKeyFile != "" {
		option, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the NATS seed %s: %w", c.NKeyFile, err)
		}
		options = append(options, option)
	}
	if c.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(c.CredentialsFile))
	}
	if c.CAFile != "" {
		options = append(options, nats.RootCAs(c.CAFile))
	}
	return options, nil
}

// userKey returns the public key of the seed in a file, alone or after a user JWT.
func userKey(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the NATS credentials: %w", err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return "", fmt.Errorf("the file %s holds no seed of a NATS user (a line that begins with SU): %w", path, err)
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil {
		return "", fmt.Errorf("the seed in %s: %w", path, err)
	}
	return public, nil
}
