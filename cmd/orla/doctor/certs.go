package doctor

import (
	"context"
	"fmt"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// certificates tells of those that fail or end soon.
func (c Config) certificates(ctx context.Context) []Finding {
	if c.Certificates == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	res, err := c.Certificates(ctx, orlav1.Certificate_STATE_EXPIRING, orlav1.Certificate_STATE_EXPIRED, orlav1.Certificate_STATE_FAILED, orlav1.Certificate_STATE_UNUSABLE)
	if err != nil {
		return []Finding{{"certs", Warn, message(err), ""}}
	}
	if res.GetMode() == "off" {
		return nil
	}
	var all uint64
	for _, n := range res.GetCounts() {
		all += n.GetCount()
	}
	if len(res.GetCertificates()) == 0 {
		return []Finding{{"certs", OK, fmt.Sprintf("%d, mode %s", all, res.GetMode()), ""}}
	}
	const most = 10
	var found []Finding
	for i, cert := range res.GetCertificates() {
		if i == most {
			found = append(found, Finding{"certs", Warn, fmt.Sprintf("%d more are not well", len(res.GetCertificates())-most), "see: orla certs"})
			break
		}
		found = append(found, certificate(cert))
	}
	return found
}

func certificate(c *orlav1.Certificate) Finding {
	f := Finding{"certs", Warn, c.GetSubject(), "see: orla certs show " + c.GetSubject()}
	until := c.GetNotAfter().AsTime().UTC().Format(time.RFC3339)
	switch c.GetState() {
	case orlav1.Certificate_STATE_EXPIRED:
		f.Status, f.Detail = Fail, f.Detail+": its certificate has expired, at "+until
	case orlav1.Certificate_STATE_EXPIRING:
		f.Detail += ": its certificate ends soon, at " + until
	case orlav1.Certificate_STATE_UNUSABLE:
		f.Status, f.Detail = Fail, f.Detail+": "+c.GetReason()
	default:
		f.Detail += ": it has no certificate"
	}
	if c.GetFailure() != nil {
		f.Detail += "\n" + c.GetFailure().GetError()
	}
	if c.GetSource() == orlav1.Certificate_SOURCE_IMPORTED {
		f.Next = "import a new one: orla certs import " + c.GetSubject()
	}
	return f
}
