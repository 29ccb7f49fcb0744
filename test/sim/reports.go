package sim

import (
	"slices"

	"github.com/tenon-run/tenon/internal/flow"
	busv1 "github.com/tenon-run/tenon/proto/tenon/bus/v1"
)

// report passes news on to the owner; done hears the verdict, 0 for none in time.
func (d *dispatcher) report(x *worker, number int64, it *busv1.ReportItem, done func(verdict int32)) {
	attached := func() (*session, int64) {
		if st := d.seatOf(x.id); st != nil && st.session != nil {
			return st.session, st.session.epoch
		}
		return nil, 0
	}
	result := it.GetKind() == busv1.ReportKind_REPORT_KIND_COMPLETED || it.GetKind() == busv1.ReportKind_REPORT_KIND_FAILED
	session, sentUnder := attached()
	d.call(x.tenant, &busv1.ShardRequest{Kind: &busv1.ShardRequest_Reports{Reports: &busv1.Reports{
		WorkerId: slices.Clone(x.id[:]), Session: number, Items: []*busv1.ReportItem{it},
	}}}, func(reply *busv1.ShardReply, epoch int64, err error) {
		if err != nil || len(reply.GetReports().GetVerdicts()) != 1 {
			done(0)
			return
		}
		verdict := reply.GetReports().GetVerdicts()[0]
		d.w.check.verdict(x.tenant, it, verdict)
		now, epochNow := attached()
		counts := sentUnder == epoch && now == session && epochNow == sentUnder
		if !counts && !result {
			if st := d.seatOf(x.id); st != nil {
				d.detach(st, epoch)
			}
			done(0)
			return
		}
		if st := d.seatOf(x.id); st != nil {
			d.detach(st, epoch)
			if a := st.find(flow.ID(it.GetAssignmentId())); a != nil {
				switch it.GetKind() {
				case busv1.ReportKind_REPORT_KIND_ACKNOWLEDGED:
				case busv1.ReportKind_REPORT_KIND_STARTED:
					if a.begun == 0 {
						a.begun = d.w.now
					}
				default:
					st.remove(a.id)
				}
			}
		}
		done(verdict)
	}, nil)
}
