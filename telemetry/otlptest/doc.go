// Package otlptest proves that what a node exports arrives: its test runs
// package telemetry against the OpenTelemetry Collector's own OTLP receiver. It
// is a module of its own so that the collector stays out of the product's
// dependencies.
package otlptest
