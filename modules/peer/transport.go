package peer

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// NewClient returns a client for a [Fetcher]: it keeps a connection a parallel
// transfer, takes no proxy from the environment, and speaks HTTP/1.1, whose
// connections do not share one flow control. The configuration says who this node
// is and which nodes it believes; it is cloned. Close the client's idle
// connections when it is no longer needed.
func NewClient(identity *tls.Config, parallel int) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     identity.Clone(),
		Protocols:           protocols,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: orDefaultParallel(parallel),
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		ReadBufferSize:      64 << 10,
	}}
}

// NewServer returns a server for a [NewHandler] handler with limits on everything
// that comes before the handler. The caller calls ServeTLS on it with empty file
// names, and closes it.
func NewServer(handler http.Handler, identity *tls.Config, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		TLSConfig:         identity.Clone(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}
