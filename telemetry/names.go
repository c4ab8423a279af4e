package telemetry

// The keys of log records. A value under one of them means the same wherever it
// is written. Query strings, header values, bodies and secrets are never logged.
const (
	// KeyApp is the app or route set that a record belongs to; records that have
	// it, outside any group, are kept by [Tail].
	KeyApp = "app"
	// KeyRelease is the number of an app's release.
	KeyRelease = "release"
	// KeyFunction is the name of a function.
	KeyFunction = "function"
	// KeyStream is the guest's output that a line came from: "stdout" or "stderr".
	KeyStream = "stream"
	// KeyRoute is the pattern that matched: "/users/{id}".
	KeyRoute = "route"
	// KeyTarget is "site", "function", "proxy", "redirect" or "respond".
	KeyTarget = "target"
	// KeyUpstream is an app server: "10.0.0.5:8080".
	KeyUpstream = "upstream"
	// KeyNode is the name of a node.
	KeyNode = "node"
	// KeyRequestID is the X-Request-Id.
	KeyRequestID = "request_id"
	// KeyMethod is the request's method.
	KeyMethod = "method"
	// KeyHost is the request's host, normalised.
	KeyHost = "host"
	// KeyPath is the request's escaped path, without the query.
	KeyPath = "path"
	// KeyProtocol is the request's protocol: "HTTP/1.1".
	KeyProtocol = "protocol"
	// KeyClient is the client's IP address.
	KeyClient = "client"
	// KeyStatus is the response's status code.
	KeyStatus = "status"
	// KeyBytes is a size in bytes.
	KeyBytes = "bytes"
	// KeyDuration is the time that the work took.
	KeyDuration = "duration"
	// KeyGuest is the part of it spent inside a guest.
	KeyGuest = "guest"
	// KeyGuestCPU is the CPU time that guests used for a request, in milliseconds
	// with a fraction.
	KeyGuestCPU = "guest_cpu_ms"
	// KeyLimit is the limit that ended or cut something: "cpu", "response_body".
	KeyLimit = "limit"
	// KeyRevision is a revision of the register.
	KeyRevision = "revision"
	// KeyDigest is a blob's digest: "sha256:…".
	KeyDigest = "digest"
	// KeyAddress is an address listened on or dialled.
	KeyAddress = "address"
	// KeyAttempt counts from 1.
	KeyAttempt = "attempt"
	// KeyCount is a number of things that the message names.
	KeyCount = "count"
	// KeyDropped is the number of records that a slow reader missed.
	KeyDropped = "dropped"
	// KeySignal is "traces", "metrics" or "logs".
	KeySignal = "signal"
	// KeyError is the cause.
	KeyError = "error"
	// KeyTraceID and KeySpanID are added to each record that is written inside a
	// span.
	KeyTraceID = "trace_id"
	KeySpanID  = "span_id"
)

// The names of spans. The span of a request is "{method} {route}", the one of a
// call to an upstream "{method}", as the semantic conventions for HTTP say.
const (
	// SpanGuest covers the time inside a guest.
	SpanGuest = "orla.function.guest"
	// SpanReleaseBuild covers the building of a release beside the live one.
	SpanReleaseBuild = "orla.release.build"
	// SpanReleaseSwap covers the swap of the live table.
	SpanReleaseSwap = "orla.release.swap"
	// SpanDeploy covers a Deploy call.
	SpanDeploy = "orla.control.deploy"
)

// The attributes of spans and metrics that the semantic conventions have no name
// for. Those marked "spans only" have too many values for a metric.
const (
	// AttrApp is the app or route set.
	AttrApp = "orla.app"
	// AttrRelease is the release's number; spans only.
	AttrRelease = "orla.release"
	// AttrTarget is "site", "function", "proxy", "redirect" or "respond".
	AttrTarget = "orla.target"
	// AttrFunction is the function's name.
	AttrFunction = "orla.function"
	// AttrABI is the guest's ABI: "cgi", "http-wasm".
	AttrABI = "orla.abi"
	// AttrOutcome is how something ended: "ok", or a short word for the cause.
	AttrOutcome = "orla.outcome"
	// AttrLimit is the limit that was hit, as orla.toml calls it: "cpu", "log_rate".
	AttrLimit = "orla.limit"
	// AttrInstanceState is "idle" or "busy".
	AttrInstanceState = "orla.instance.state"
	// AttrNodeState is "serving", "starting", "drained", "draining", "cut off", "behind",
	// "refusing" or "lost".
	AttrNodeState = "orla.node.state"
	// AttrHost is the host, or the wildcard, that a certificate is for.
	AttrHost = "orla.host"
	// AttrCertState is a certificate's state as `orla certs` has it: "valid", "expiring",
	// "expired", "pending", "failed", "on_demand", "covered", "unusable" or "not_ordered".
	AttrCertState = "orla.certs.state"
	// AttrGuestCPU is the CPU time that guests used for a request, in milliseconds;
	// spans only.
	AttrGuestCPU = "orla.guest_cpu_ms"
	// AttrRequestID is the X-Request-Id; spans only.
	AttrRequestID = "orla.request_id"
	// AttrDigest is a content digest; spans only.
	AttrDigest = "orla.digest"
)

// The names of metrics. The unit follows in parentheses; Prometheus appends it,
// and "_total" for counters, and writes dots as underscores.
const (
	// HTTPServerRequestDuration is a histogram (s) of semantic conventions' name
	// and attributes: http.request.method, http.response.status_code, http.route.
	HTTPServerRequestDuration = "http.server.request.duration"
	// HTTPServerActiveRequests is an up-down counter ({request}).
	HTTPServerActiveRequests = "http.server.active_requests"
	// HTTPServerRequestBodySize is a histogram (By).
	HTTPServerRequestBodySize = "http.server.request.body.size"
	// HTTPServerResponseBodySize is a histogram (By).
	HTTPServerResponseBodySize = "http.server.response.body.size"
	// ServerConnections is an up-down counter ({connection}) of open connections.
	ServerConnections = "orla.server.connections"
	// ServerPanics is a counter ({panic}) of handlers that panicked.
	ServerPanics = "orla.server.panics"

	// FunctionInvocations is a counter ({invocation}) by AttrApp, AttrFunction and
	// AttrOutcome.
	FunctionInvocations = "orla.function.invocations"
	// FunctionDuration is a histogram (s) of invocations, waiting included.
	FunctionDuration = "orla.function.duration"
	// FunctionGuestDuration is a histogram (s) of the time inside the guest.
	FunctionGuestDuration = "orla.function.guest.duration"
	// FunctionCPU is a counter (s) of the CPU time that guests used, by AttrApp and
	// AttrFunction.
	FunctionCPU = "orla.function.cpu.time"
	// FunctionLimit is a counter ({hit}) of limits that requests ran into, by AttrApp,
	// AttrFunction and AttrLimit.
	FunctionLimit = "orla.function.limit.hits"
	// FunctionCircuit is a gauge (1): 1 if the function keeps failing and is answered
	// 503 without being run, else 0.
	FunctionCircuit = "orla.function.circuit.open"
	// FunctionInstances is a gauge ({instance}) by AttrInstanceState.
	FunctionInstances = "orla.function.instances"
	// FunctionMemory is a gauge (By) of the memory that a function's instances have.
	FunctionMemory = "orla.function.memory"
	// FunctionActive is an up-down counter ({invocation}) of guests at work.
	FunctionActive = "orla.function.active"
	// FunctionQueued is an up-down counter ({invocation}) of requests that wait
	// for a free instance.
	FunctionQueued = "orla.function.queued"
	// FunctionPrepareDuration is a histogram (s) of preparing a module.
	FunctionPrepareDuration = "orla.function.prepare.duration"

	// ProxyUpstreamDuration is a histogram (s) from the start of an attempt to the
	// upstream's response head, by server.address, server.port and status class.
	ProxyUpstreamDuration = "orla.proxy.upstream.duration"
	// ProxyUpstreamActive is a gauge ({request}) of requests in flight.
	ProxyUpstreamActive = "orla.proxy.upstream.active"
	// ProxyUpstreamAvailable is a gauge (1): 1 if the upstream takes requests, 0
	// if it is ejected or its health checks fail.
	ProxyUpstreamAvailable = "orla.proxy.upstream.available"
	// ProxyUpstreamRetries is a counter ({attempt}) of attempts after the first.
	ProxyUpstreamRetries = "orla.proxy.upstream.retries"

	// ReleaseBuildDuration is a histogram (s) of building a release.
	ReleaseBuildDuration = "orla.release.build.duration"
	// ReleaseSwaps is a counter ({swap}) of changes of the live table.
	ReleaseSwaps = "orla.release.swaps"
	// ReleaseRefusals is a counter ({release}) of heads that were not taken over.
	ReleaseRefusals = "orla.release.refusals"
	// ReleaseLive is a gauge ({release}) of releases that serve.
	ReleaseLive = "orla.release.live"
	// ReleaseDraining is a gauge ({release}) of replaced ones with requests inside.
	ReleaseDraining = "orla.release.draining"

	// RegisterRevision is a gauge ({revision}) of the register's revision served.
	RegisterRevision = "orla.register.revision"
	// RegisterReady is a gauge (1): 1 if the node can take changes.
	RegisterReady = "orla.register.ready"

	// ClusterNodes is a gauge ({node}) by AttrNodeState, on hubs.
	ClusterNodes = "orla.cluster.nodes"
	// ClusterHeartbeatAge is a gauge (s) of the time since the register was last heard of.
	ClusterHeartbeatAge = "orla.cluster.heartbeat.age"
	// ClusterPropagation is a histogram (s) of the time from a change to its being live
	// on each other node, at the hub that made it.
	ClusterPropagation = "orla.cluster.propagation"
	// ClusterRefusals is a gauge ({release}) of live releases that a node does not serve.
	ClusterRefusals = "orla.cluster.refusals"

	// ModulesBlobs is a gauge ({blob}) of blobs in the node's store.
	ModulesBlobs = "orla.modules.blobs"
	// ModulesBytes is a gauge (By) of their size.
	ModulesBytes = "orla.modules.bytes"

	// CertsExpiry is a gauge (s) of the time left on a certificate, by AttrHost, of the 1,000
	// that end soonest; below zero it is over.
	CertsExpiry = "orla.certs.expiry"
	// CertsCount is a gauge ({certificate}) by AttrCertState.
	CertsCount = "orla.certs.count"
	// CertsOrders is a counter ({order}) by AttrOutcome, "ok" or "failed", at the node that
	// orders.
	CertsOrders = "orla.certs.orders"
)
