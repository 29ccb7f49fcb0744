package typeid_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tenon-run/tenon/proto/typeid"
)

func unhex(t *testing.T, s string) (id [16]byte) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	copy(id[:], b)
	return id
}

// The vectors are those of the TypeID specification.
func TestVectors(t *testing.T) {
	t.Parallel()
	for text, uuid := range map[string]string{
		"prefix_00000000000000000000000000": "00000000-0000-0000-0000-000000000000",
		"prefix_00000000000000000000000001": "00000000-0000-0000-0000-000000000001",
		"prefix_0000000000000000000000000g": "00000000-0000-0000-0000-000000000010",
		"prefix_7zzzzzzzzzzzzzzzzzzzzzzzzz": "ffffffff-ffff-ffff-ffff-ffffffffffff",
		"prefix_0123456789abcdefghjkmnpqrs": "0110c853-1d09-52d8-d73e-1194e95b5f19",
		"prefix_01h455vb4pex5vsknk084sn02q": "01890a5d-ac96-774b-bcce-b302099a8057",
	} {
		id := unhex(t, uuid)
		if got := typeid.Format("prefix", id); got != text {
			t.Errorf("Format(%s) = %s, want %s", uuid, got, text)
		}
		got, err := typeid.Parse("prefix", text)
		if err != nil || got != id {
			t.Errorf("Parse(%s) = %x, %v, want %s", text, got, err, uuid)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "run_", "run", "tok_01h455vb4pex5vsknk084sn02q", "run_8zzzzzzzzzzzzzzzzzzzzzzzzz",
		"run_01h455vb4pex5vsknk084sn02", "run_01h455vb4pex5vsknk084sn02qq", "run_01h455vb4pex5vsknk084sn02u", "run_01H455VB4PEX5VSKNK084SN02Q",
		"run_" + strings.Repeat("0", 5000),
	} {
		if id, err := typeid.Parse(typeid.Run, text); err == nil {
			t.Errorf("Parse(%.40q) = %x, want an error", text, id)
		}
	}
}
