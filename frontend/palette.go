package frontend

import (
	"net/http"

	"github.com/tenon-run/tenon/frontend/pages"
	registryv1 "github.com/tenon-run/tenon/proto/tenon/registry/v1"
)

// showPalette is what the command palette offers beside what the page itself does: the tenant's workflows.
func (s *site) showPalette(w http.ResponseWriter, r *http.Request, v visitor) {
	list, err := s.registry.ListWorkflows(v.call(r), &registryv1.ListWorkflowsRequest{PageSize: workflowsPerPage})
	if err != nil {
		s.fail(w, r, v, err)
		return
	}
	s.render(w, r, http.StatusOK, pages.PaletteItems(v.shell, list.GetWorkflows()))
}
