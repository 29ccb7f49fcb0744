// Package schedulerrpc is RunService's wall to the wire: it decodes requests, calls the scheduler, and encodes what comes back. Rules stand
// in package scheduler. Only internal/app imports it.
package schedulerrpc
