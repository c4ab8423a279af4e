// Package telemetry is where a node's traces, metrics and logs come together:
// the OpenTelemetry SDK and its exporters, the slog handlers, the recent records
// of each app, and the names of every span and metric. It knows nothing of
// routing, guests or NATS.
package telemetry
