package schedulerrpc

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"github.com/tenon-run/tenon/internal/fault"
	"github.com/tenon-run/tenon/internal/flow"
	"github.com/tenon-run/tenon/services/scheduler"
)

// Page tokens are opaque to callers and checked when they come back: they name the last row of the page before.

func badToken() error {
	return fault.InvalidField("page_token", "this is no token of this list: send next_page_token of the page before as it came, with the same filters")
}

func runToken(id flow.ID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func parseRunToken(token string) (flow.ID, error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != len(flow.ID{}) {
		return flow.ID{}, badToken()
	}
	return flow.ID(b), nil
}

func offsetToken(n int) string {
	return base64.RawURLEncoding.EncodeToString([]byte("a" + strconv.Itoa(n)))
}

func parseOffsetToken(token string) (int, error) {
	if token == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 2 || b[0] != 'a' {
		return 0, badToken()
	}
	n, err := strconv.Atoi(string(b[1:]))
	if err != nil || n < 0 {
		return 0, badToken()
	}
	return n, nil
}

const logTokenLen = 8 + 16 + 8

func logToken(p *scheduler.LogPage) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.AfterTime)) //nolint:gosec // times after 1970
	b = append(b, p.AfterAssignment[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.AfterSequence)) //nolint:gosec // from 1
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseLogToken(token string) (scheduler.LogPage, error) {
	var page scheduler.LogPage
	if token == "" {
		return page, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != logTokenLen {
		return page, badToken()
	}
	page.AfterTime = int64(binary.BigEndian.Uint64(b))          //nolint:gosec // as written above
	page.AfterAssignment = flow.ID(b[8:24])                     // as laid out above
	page.AfterSequence = int64(binary.BigEndian.Uint64(b[24:])) //nolint:gosec // as written above
	return page, nil
}

// tailToken is the time that a tail of a log has come to.
func tailToken(at int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{'t'}, uint64(at))) //nolint:gosec // times after 1970
}

func parseTailToken(token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 9 || b[0] != 't' {
		return 0, fault.InvalidField("resume_token", "this is no token of a tail: send resume_token of the last message as it came")
	}
	return int64(binary.BigEndian.Uint64(b[1:])), nil //nolint:gosec // as written above
}
