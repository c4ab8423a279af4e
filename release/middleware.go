package release

import (
	"fmt"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maxMiddleware is the most functions in front of one route's target.
const maxMiddleware = 16

// middleware checks the functions that stand in front of a route's target.
func (v *validator) middleware(field string, r *orlav1.Route) {
	names := r.GetMiddleware()
	switch {
	case len(names) == 0:
		return
	case v.manifest.GetKind() == orlav1.Kind_KIND_ROUTES:
		v.reject(field, "a route set has no functions of its own, so that none can stand in front of a target; remove the line, or put the route into the app's orla.toml")
		return
	case len(names) > maxMiddleware:
		v.reject(field, "there are %d functions in front of the target, the most is %d; join some of them to one", len(names), maxMiddleware)
		return
	}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		fn, there := v.functionsByName[name]
		switch {
		case !there:
			v.reject(at, "there is no function %s; %s", quote(name), v.didYouMean(name, v.functionNames, "add one to the app"))
		case name == r.GetFunction():
			v.reject(at, "function %q is the route's target already, and cannot stand in front of itself; remove one of the two", name)
		case fn.GetAbi() == orlav1.Abi_ABI_CGI:
			v.reject(at, "%s", MiddlewareABI(name))
		}
	}
	if i, twice := duplicate(names); twice {
		v.reject(fmt.Sprintf("%s[%d]", field, i), "function %s is there twice; remove one", quote(names[i]))
	}
}

// MiddlewareABI says what is wrong with a function that is used as middleware and
// whose module is a CGI program, which only its reader can know.
func MiddlewareABI(name string) string {
	return fmt.Sprintf("function %q is a CGI program, which answers every request itself; only an http-wasm handler can stand in front of a target: make it one, or remove it here", name)
}
