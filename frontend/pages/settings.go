package pages

import (
	"time"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

// SettingsView is what the tenant is called; Name is the one that its form shows, and Error why it was refused.
type SettingsView struct {
	Tenant      *identityv1.Tenant
	Name, Error string
	Now         time.Time
}
