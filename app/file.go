package app

import (
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"

	"github.com/orla-edge/orla/app/document"
)

const (
	// AppFile is the name of an app's file, at the app's root.
	AppFile = "orla.toml"
	// RoutesFile is the usual name of a route set's file.
	RoutesFile = "routes.toml"
)

// appFile is orla.toml.
type appFile struct {
	Name      string                   `toml:"name" jsonschema:"pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=63" example:"\"shop\"" jsonschema_description:"The app's name on the node: lower-case letters, digits and inner hyphens."`
	Hosts     []string                 `toml:"hosts" example:"[\"shop.example.com\"]" jsonschema_description:"Hosts that the app owns: a name, a wildcard such as *.example.com, or * for every host that no other app owns, which is the default."`
	Build     *buildTable              `toml:"build" jsonschema_description:"How the app is built."`
	TLS       *tlsTable                `toml:"tls" jsonschema_description:"HTTPS: redirects, HSTS, client certificates."`
	Site      *siteTable               `toml:"site" jsonschema_description:"Static files."`
	Functions map[string]functionTable `toml:"functions" jsonschema_description:"WebAssembly functions by name."`
	Routes    []routeTable             `toml:"routes" jsonschema_description:"Routes in order. The first match wins among equals."`
}

// routesFile is routes.toml.
type routesFile struct {
	Name   string       `toml:"name" jsonschema:"pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=63" example:"\"edge\"" jsonschema_description:"The route set's name on the node."`
	Hosts  []string     `toml:"hosts" example:"[\"shop.example.com\"]" jsonschema_description:"Hosts that the set owns; the default is every host that nobody else owns."`
	TLS    *tlsTable    `toml:"tls" jsonschema_description:"HTTPS: redirects, HSTS, client certificates."`
	Routes []routeTable `toml:"routes" jsonschema_description:"Routes in order. The first match wins among equals."`
}

type buildTable struct {
	Command string `toml:"command" example:"\"make\"" jsonschema_description:"Run by sh in the app's folder before the app is packed."`
}

type tlsTable struct {
	Redirect *bool      `toml:"redirect" example:"true" jsonschema_description:"Whether requests over plain HTTP are redirected to HTTPS; without it the node decides."`
	HSTS     *hstsTable `toml:"hsts" jsonschema_description:"Tells browsers to come by HTTPS only (Strict-Transport-Security)."`
	OnDemand bool       `toml:"on_demand" jsonschema:"default=false" example:"true" jsonschema_description:"Orders a host's certificate at the first handshake instead of at the deploy."`
	ClientCA []string   `toml:"client_ca" jsonschema:"minItems=1,maxItems=50" example:"[\"ca.pem\"]" jsonschema_description:"Files in PEM with the CAs whose certificates clients may show, or the PEM text itself; see client_cert of match."`
}

type hstsTable struct {
	MaxAge            document.Age `toml:"max_age" jsonschema:"required" example:"\"180d\"" jsonschema_description:"How long browsers remember it; 0s has them forget."`
	IncludeSubdomains bool         `toml:"include_subdomains" jsonschema:"default=false" example:"true" jsonschema_description:"Also for all names below the host."`
	Preload           bool         `toml:"preload" jsonschema:"default=false" example:"true" jsonschema_description:"Allows browsers' lists to have the host; needs include_subdomains and a year."`
}

type siteTable struct {
	Dir      string `toml:"dir" jsonschema:"default=public" example:"\"public\"" jsonschema_description:"Folder of the files, inside the app's folder."`
	NotFound string `toml:"not_found" jsonschema:"enum=404,enum=spa,enum=none,default=404" example:"\"404\"" jsonschema_description:"What answers a path that is not there: the nearest 404.html, index.html for navigations, or nothing."`
	HTML     string `toml:"html" jsonschema:"enum=auto,enum=force-slash,enum=drop-slash,enum=none,default=auto" example:"\"auto\"" jsonschema_description:"How the paths of HTML pages are spelled."`
}

type functionTable struct {
	Module      string            `toml:"module" example:"\"api.wasm\"" jsonschema_description:"WebAssembly module, inside the app's folder."`
	Routes      []string          `toml:"routes" example:"[\"/api/*\"]" jsonschema_description:"Paths that the function answers, each with methods before it or none: /api/* or POST /hooks/{id}."`
	Memory      document.Size     `toml:"memory" example:"\"64MiB\"" jsonschema_description:"Cap of the guest's memory."`
	Timeout     document.Duration `toml:"timeout" example:"\"10s\"" jsonschema_description:"Wall-clock deadline of a request."`
	CPU         document.Duration `toml:"cpu" example:"\"50ms\"" jsonschema_description:"CPU time that a request may use in the guest."`
	Isolation   string            `toml:"isolation" jsonschema:"enum=request,enum=pooled,enum=fresh,default=request" example:"\"request\"" jsonschema_description:"What one request sees of another: nothing (request), what earlier ones left in the same instance (pooled), or nothing and not even the same random seeds (fresh; slow)."`
	Concurrency uint32            `toml:"concurrency" jsonschema:"minimum=1" example:"64" jsonschema_description:"Requests inside the function at one time."`
	Env         map[string]string `toml:"env" example:"{ GREETING = \"hello\" }" jsonschema_description:"Environment variables. They are stored in the release, for all to read: see secrets."`
	Args        []string          `toml:"args" example:"[\"app.py\"]" jsonschema_description:"Arguments after the program's name."`
	Files       string            `toml:"files" example:"\"lib\"" jsonschema_description:"Folder inside the app's folder that the function reads at /."`
	Limits      *limitsTable      `toml:"limits" jsonschema_description:"Further bounds of what a request may use; the node has a default for each."`
	Timing      bool              `toml:"server_timing" example:"true" jsonschema_description:"Adds a Server-Timing field to responses: wall and CPU time of the function."`
	KV          []string          `toml:"kv" jsonschema:"maxItems=16,uniqueItems=true" example:"[\"sessions\"]" jsonschema_description:"Stores of the app's key-value store that the function may use."`
	Secrets     []string          `toml:"secrets" jsonschema:"maxItems=64,uniqueItems=true" example:"[\"STRIPE_KEY\"]" jsonschema_description:"Secrets of the app (orla secrets set) that the function is given as environment variables."`

	_ struct{} `later:"outbound"`
}

type limitsTable struct {
	Stack        document.Size `toml:"stack" example:"\"8MiB\"" jsonschema_description:"Stack of the guest's calls, 64KiB to 64MiB."`
	Table        uint32        `toml:"table" jsonschema:"minimum=1,maximum=100000" example:"10000" jsonschema_description:"Elements of each of the module's tables."`
	RequestBody  document.Size `toml:"request_body" example:"\"10MiB\"" jsonschema_description:"Body of a request; a larger one is answered 413."`
	ResponseBody document.Size `toml:"response_body" example:"\"100MiB\"" jsonschema_description:"Body of an answer."`
	Log          document.Size `toml:"log" example:"\"256KiB\"" jsonschema_description:"What one request may log, at most 16MiB; the rest is dropped."`
	LogRate      uint32        `toml:"log_rate" jsonschema:"minimum=1,maximum=100000" example:"1000" jsonschema_description:"Lines a second that the function may log; the rest is dropped."`
	HostCalls    int64         `toml:"host_calls" jsonschema:"minimum=1,maximum=1000000000" example:"1000000" jsonschema_description:"Calls from the guest into the node for one request."`
}

type routeTable struct {
	Match          *matchTable    `toml:"match" jsonschema_description:"What a request must meet, all of it."`
	Proxy          *proxyTable    `toml:"proxy" jsonschema_description:"Target: app servers."`
	Redirect       *redirectTable `toml:"redirect" jsonschema_description:"Target: another URL, told to the client."`
	Respond        *respondTable  `toml:"respond" jsonschema_description:"Target: a fixed answer."`
	Function       string         `toml:"function" example:"\"api\"" jsonschema_description:"Target: a function of this app."`
	Site           bool           `toml:"site" example:"true" jsonschema_description:"Target: this app's site."`
	Rewrite        string         `toml:"rewrite" example:"\"/new/:splat\"" jsonschema_description:"New path that the target sees; without a target it is matched again."`
	Headers        *headersTable  `toml:"headers" jsonschema_description:"Changes to the response's headers."`
	RequestHeaders *headersTable  `toml:"request_headers" jsonschema_description:"Changes to the request's headers before the target sees it."`
	Middleware     []string       `toml:"middleware" jsonschema:"minItems=1,maxItems=16,uniqueItems=true" example:"[\"auth\"]" jsonschema_description:"Functions of this app that see the request before the target does and the response after it, outermost first. Each is an http-wasm handler."`

	_ struct{} `later:"cache,rate"`
}

type matchTable struct {
	Path    string         `toml:"path" example:"\"/legacy/*\"" jsonschema_description:"/about, /users/{id} or /api/*; the default is every path."`
	Methods []string       `toml:"methods" example:"[\"GET\"]" jsonschema_description:"Methods; the default is all."`
	Headers document.Pairs `toml:"headers" jsonschema_description:"Header fields with exactly these values."`
	Query   document.Pairs `toml:"query" jsonschema_description:"Query parameters with exactly these values."`
	Hosts   []string       `toml:"hosts" example:"[\"shop.example.com\"]" jsonschema_description:"Some of the app's hosts; the default is all."`

	ClientCert string `toml:"client_cert" jsonschema:"minLength=1" example:"\"alice.example.com\"" jsonschema_description:"The client's certificate: a name that it is for, * for any that client_ca of [tls] has signed, or none for no certificate."`
}

type proxyTable struct {
	To      []string          `toml:"to" jsonschema:"required" example:"[\"http://10.0.0.5:8080\"]" jsonschema_description:"Base URLs of the app servers."`
	Health  string            `toml:"health" example:"\"/healthz\"" jsonschema_description:"Path of an active health check."`
	Timeout document.Duration `toml:"timeout" example:"\"30s\"" jsonschema_description:"Longest wait for the head of a response."`
}

type redirectTable struct {
	To     string `toml:"to" jsonschema:"required" example:"\"https://new.example.com/:splat\"" jsonschema_description:"URL or path; :name and :splat stand for what the match captured."`
	Status uint32 `toml:"status" jsonschema:"enum=301,enum=302,enum=303,enum=307,enum=308,default=308" example:"308" jsonschema_description:"Status of the answer."`
}

type respondTable struct {
	Status uint32 `toml:"status" jsonschema:"minimum=200,maximum=599,default=200" example:"410" jsonschema_description:"Status of the answer."`
	Body   string `toml:"body" example:"\"gone\"" jsonschema_description:"Text of the answer."`
	Type   string `toml:"type" example:"\"text/html; charset=utf-8\"" jsonschema_description:"Content-Type of the answer; the default is plain text."`
}

type headersTable struct {
	Set    document.Pairs      `toml:"set" example:"{ X-Frame-Options = \"DENY\" }" jsonschema_description:"Fields to replace."`
	Add    document.MultiPairs `toml:"add" example:"{ Vary = \"Cookie\" }" jsonschema_description:"Fields to add to those there; a list adds several."`
	Remove []string            `toml:"remove" example:"[\"Server\"]" jsonschema_description:"Fields to take away."`
}

// Schema returns the JSON schema of orla.toml, for editors.
func Schema() ([]byte, error) { return schemaOf(&appFile{}, "Orla app (orla.toml)") }

// RoutesSchema returns the JSON schema of routes.toml.
func RoutesSchema() ([]byte, error) { return schemaOf(&routesFile{}, "Orla routes (routes.toml)") }

func schemaOf(file any, title string) ([]byte, error) {
	r := jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		RequiredFromJSONSchemaTags: true,
		FieldNameTag:               "toml",
	}
	s := r.Reflect(file)
	s.Title = title
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(text, '\n'), nil
}
