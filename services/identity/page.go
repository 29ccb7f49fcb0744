package identity

import (
	"encoding/base64"
	"encoding/json"

	"github.com/tenon-run/tenon/internal/fault"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// cursor is what a page token holds: the list's name, so that a token of one list is refused by another, and the key of the last item.
type cursor struct {
	List string `json:"l"`
	Num  int64  `json:"n,omitempty"`
	ID   []byte `json:"i,omitempty"`
}

func (p Page) size() int32 {
	if p.Size <= 0 {
		return defaultPage
	}
	return min(p.Size, maxPage)
}

// cursor returns nil for the first page.
func (p Page) cursor(list string) (*cursor, error) {
	if p.Token == "" {
		return nil, nil //nolint:nilnil // the first page has no cursor
	}
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(p.Token)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.List != list || (len(c.ID) != 0 && len(c.ID) != 16) {
		return nil, fault.InvalidField("page_token", "is not the next_page_token of an earlier call to this method")
	}
	return &c, nil
}

func (c cursor) token() (string, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return "", fault.Internal(err, "encode a page token")
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// cut takes the one row too many off, which tells whether there is a next page, and makes that page's token from the last row left.
func cut[R any](rows []R, size int32, last func(R) cursor) ([]R, string, error) {
	if len(rows) <= int(size) {
		return rows, "", nil
	}
	rows = rows[:size]
	token, err := last(rows[size-1]).token()
	return rows, token, err
}
