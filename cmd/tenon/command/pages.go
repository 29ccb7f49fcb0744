package command

import (
	"github.com/spf13/cobra"
)

// paging is how much of a list is wanted.
type paging struct {
	limit int
	token string
	// most is the server's limit of a page; 0: 1,000.
	most int
}

func (p *paging) flags(cmd *cobra.Command, limit int, what string) {
	cmd.Flags().IntVar(&p.limit, "limit", limit, "most "+what+" to list; 0 for all")
	cmd.Flags().StringVar(&p.token, "page-token", "", "go on where another list ended: its nextPageToken")
}

// gather asks for pages until there is enough or no more, and gives the token that goes on.
func (p *paging) gather(page func(size int32, token string) (got int, next string, err error)) (next string, err error) {
	if p.limit < 0 {
		return "", badCall("--limit must not be negative")
	}
	const usual = 1000
	most := p.most
	if most == 0 {
		most = usual
	}
	next = p.token
	for have := 0; ; {
		size := most
		if p.limit > 0 {
			size = min(size, p.limit-have)
		}
		var got int
		if got, next, err = page(int32(size), next); err != nil || next == "" {
			return "", err
		}
		if have += got; p.limit > 0 && have >= p.limit {
			return next, nil
		}
	}
}

// more says below a table that the list goes on.
func (c *cli) more(p *paging, next, what string) {
	if next != "" {
		c.notef("there are more %s than these: --limit 0 lists all", what)
	}
}
