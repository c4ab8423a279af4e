package doctor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// answerWait is how long a node may take to answer.
const answerWait = 5 * time.Second

// node asks whether the node answers, takes the token, and is well. The response
// is nil if nothing answers.
func (c Config) node(ctx context.Context) (*orlav1.GetNodeResponse, []Finding) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	res, err := c.Node(ctx)
	if err != nil && c.URL == "" {
		return nil, []Finding{{"node", Fail, message(err), ""}}
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return &orlav1.GetNodeResponse{}, []Finding{
			{"node", OK, "answers at " + c.URL, ""},
			{"token", Fail, message(err), "set ORLA_TOKEN or pass --token-file; on the node's machine, DATA/admin.token is found by itself"},
		}
	}
	if err != nil {
		return nil, []Finding{c.silent(ctx, err)}
	}
	found := []Finding{
		{"node", OK, fmt.Sprintf("%s answers at %s, up since %s", res.GetNode(), c.URL, res.GetStarted().AsTime().Local().Format(time.DateTime)), ""},
		{"token", OK, "accepted", ""},
		c.version(res.GetVersion()),
	}
	if res.GetRegisterReady() {
		found = append(found, Finding{"register", OK, fmt.Sprintf("takes changes, at revision %d", res.GetRevision()), ""})
	} else {
		found = append(found, Finding{"register", Fail, res.GetRegisterError(), "the node serves its last good state; its log says more, and a restart may help once the cause is gone"})
	}
	for _, r := range res.GetRefusals() {
		found = append(found, Finding{
			"release", Warn, fmt.Sprintf("release %d of %s was not taken over: %s", r.GetRelease(), r.GetName(), r.GetReason()),
			"the release before it is served; deploy again, or go back with: orla rollback " + r.GetName(),
		})
	}
	if urls := res.GetUrls(); len(urls) > 0 {
		found = append(found, Finding{"serves", OK, strings.Join(urls, " "), ""})
	} else {
		found = append(found, Finding{"serves", Warn, "the node has no public listener", "start it with --http :8080"})
	}
	return res, found
}

func (c Config) version(node string) Finding {
	if node == c.Version {
		return Finding{"version", OK, node, ""}
	}
	return Finding{"version", Warn, fmt.Sprintf("the node is %s, this command %s", node, c.Version), "use the same version on both"}
}

// silent tells a node that is not there from something else at its address.
func (c Config) silent(ctx context.Context, cause error) Finding {
	next := "start a node with: orla serve; or name another with --admin or ORLA_ADMIN"
	client := c.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/livez", http.NoBody)
	if err != nil {
		return Finding{"node", Fail, message(cause), next}
	}
	res, err := client.Do(req)
	if err != nil {
		return Finding{"node", Fail, "nothing answers at " + c.URL, next}
	}
	res.Body.Close() //nolint:errcheck,gosec // nothing was read
	if res.StatusCode != http.StatusOK {
		return Finding{"node", Fail, fmt.Sprintf("what answers at %s is not a node (%s)", c.URL, res.Status), "stop what listens there, or move the node with --admin"}
	}
	return Finding{"node", Fail, message(cause), "the node's log says more"}
}

// message is an error's text without the code that connect puts before it.
func message(err error) string {
	text := err.Error()
	return strings.TrimPrefix(text, connect.CodeOf(err).String()+": ")
}
