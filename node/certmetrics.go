package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

// measureCerts makes the metrics of certificates. What they observe lives as long as the
// provider.
func (n *Node) measureCerts() error {
	if n.certs == nil {
		return nil
	}
	m := n.telemetry.MeterProvider().Meter("github.com/orla-edge/orla/node")
	var errs [4]error
	var expiry metric.Float64ObservableGauge
	var count metric.Int64ObservableGauge
	var orders metric.Int64ObservableCounter
	expiry, errs[0] = m.Float64ObservableGauge(telemetry.CertsExpiry, metric.WithUnit("s"),
		metric.WithDescription("Time left on a certificate, of the 1,000 that end soonest."))
	count, errs[1] = m.Int64ObservableGauge(telemetry.CertsCount, metric.WithUnit("{certificate}"),
		metric.WithDescription("Certificates by state."))
	orders, errs[2] = m.Int64ObservableCounter(telemetry.CertsOrders, metric.WithUnit("{order}"),
		metric.WithDescription("Orders of certificates that this node has made, by how they ended."))
	if errs[0] == nil && errs[1] == nil && errs[2] == nil {
		_, errs[3] = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
			s, now := n.certs.Summary(), time.Now()
			for _, e := range s.Soonest {
				o.ObserveFloat64(expiry, e.Until.Sub(now).Seconds(), metric.WithAttributes(attribute.String(telemetry.AttrHost, e.Subject)))
			}
			for i := 1; i < len(orlav1.Certificate_State_name); i++ {
				state := orlav1.Certificate_State(i)
				name := strings.ToLower(strings.TrimPrefix(state.String(), "STATE_"))
				o.ObserveInt64(count, int64(s.Counts[state]), metric.WithAttributes(attribute.String(telemetry.AttrCertState, name)))
			}
			o.ObserveInt64(orders, int64(s.Ordered), metric.WithAttributes(attribute.String(telemetry.AttrOutcome, "ok")))
			o.ObserveInt64(orders, int64(s.Failed), metric.WithAttributes(attribute.String(telemetry.AttrOutcome, "failed")))
			return nil
		}, expiry, count, orders)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("measure certificates: %w", err)
	}
	return nil
}

// certAlarm says which certificates end soon; empty: none.
func (n *Node) certAlarm() string {
	if n.certs == nil {
		return ""
	}
	s := n.certs.Summary()
	return s.Alarm()
}
