package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// certPage is how many certificates one call brings.
const certPage = 1000

// certShape is a certificate as --json prints it.
type certShape struct {
	Host        string            `json:"host"`
	State       string            `json:"state"`
	Reason      string            `json:"reason,omitempty"`
	Source      string            `json:"source,omitempty"`
	CoveredBy   string            `json:"coveredBy,omitempty"`
	Names       []string          `json:"names,omitempty"`
	Issuer      string            `json:"issuer,omitempty"`
	Serial      string            `json:"serial,omitempty"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	NotBefore   time.Time         `json:"notBefore,omitzero"`
	NotAfter    time.Time         `json:"notAfter,omitzero"`
	RenewAt     time.Time         `json:"renewAt,omitzero"`
	Directory   string            `json:"directory,omitempty"`
	Node        string            `json:"node,omitempty"`
	Created     time.Time         `json:"created,omitzero"`
	Who         string            `json:"who,omitempty"`
	PEM         string            `json:"pem,omitempty"`
	Failure     *certFailureShape `json:"failure,omitempty"`
}

// certFailureShape is an order that has failed.
type certFailureShape struct {
	Error    string    `json:"error"`
	Attempts uint32    `json:"attempts"`
	Last     time.Time `json:"last"`
	Next     time.Time `json:"next"`
	Node     string    `json:"node"`
}

// certListShape is a list of them.
type certListShape struct {
	Mode         string            `json:"mode"`
	Leader       string            `json:"leader,omitempty"`
	Counts       map[string]uint64 `json:"counts"`
	Certificates []certShape       `json:"certificates"`
	More         bool              `json:"more"`
}

// word is a value of an enumeration as people write it: "not ordered".
func word(value, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value, prefix)), "_", " ")
}

func moment(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func certOf(c *orlav1.Certificate) certShape {
	s := certShape{
		Host: c.GetSubject(), State: word(c.GetState().String(), "STATE_"), Reason: c.GetReason(), CoveredBy: c.GetCoveredBy(), Names: c.GetNames(),
		Issuer: c.GetIssuer(), Serial: c.GetSerial(), Fingerprint: c.GetFingerprint(), NotBefore: moment(c.GetNotBefore()), NotAfter: moment(c.GetNotAfter()),
		RenewAt: moment(c.GetRenewAt()), Directory: c.GetDirectory(), Node: c.GetNode(), Created: moment(c.GetCreated()), Who: c.GetWho(), PEM: c.GetPem(),
	}
	if c.GetSource() != orlav1.Certificate_SOURCE_UNSPECIFIED {
		s.Source = word(c.GetSource().String(), "SOURCE_")
	}
	if f := c.GetFailure(); f != nil {
		s.Failure = &certFailureShape{f.GetError(), f.GetAttempts(), moment(f.GetLast()), moment(f.GetNext()), f.GetNode()}
	}
	return s
}

func certsCommand(c *console) *cobra.Command {
	return withList(&cobra.Command{
		Use:   "certs",
		Short: "List certificates; import, renew and remove them",
		Long: `List the certificates of all hosts, as the node that answers knows them: every node
knows those of the whole cluster. A host that has none is listed with the reason.`,
		Example: "  orla certs\n  orla certs show shop.example\n  orla certs import shop.example --cert fullchain.pem --key key.pem",
	}, certsList(c), certsShow(c), certsImport(c), certsRenew(c), certsRemove(c), certsRotateRoot(c))
}

func certsList(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List certificates", Args: exact(),
		Example: "  orla certs list\n  orla certs list --state expiring --state failed\n  orla certs list --limit 0 --json",
	}
	n := c.nodeFlags(cmd)
	states := cmd.Flags().StringArray("state", nil, "only those in this `state`; may be repeated")
	limit := cmd.Flags().Uint("limit", certPage, "most certificates to list, by name; 0 for all")
	completeValues(cmd, "state", certStates())
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, _ []string) (certListShape, error) {
		req := &orlav1.ListCertificatesRequest{}
		for _, s := range *states {
			value, ok := orlav1.Certificate_State_value["STATE_"+strings.ToUpper(strings.NewReplacer(" ", "_", "-", "_").Replace(s))]
			if !ok || value == 0 {
				return certListShape{}, usagef("there is no state %q; there are %s", s, strings.Join(certStates(), ", "))
			}
			req.States = append(req.States, orlav1.Certificate_State(value))
		}
		return listCerts(ctx, api, req, int(*limit))
	}, c.certTable)
}

// certStates are the states, as the command line has them.
func certStates() []string {
	var all []string
	for i := 1; i < len(orlav1.Certificate_State_name); i++ {
		all = append(all, strings.ReplaceAll(word(orlav1.Certificate_State_name[int32(i)], "STATE_"), " ", "-"))
	}
	return all
}

// listCerts gets at most limit certificates, all for 0, page by page.
func listCerts(ctx context.Context, api orlav1connect.ControlServiceClient, req *orlav1.ListCertificatesRequest, limit int) (certListShape, error) {
	list := certListShape{Counts: map[string]uint64{}, Certificates: []certShape{}}
	for {
		req.Limit = certPage
		if limit > 0 {
			req.Limit = uint32(min(certPage, limit-len(list.Certificates)))
		}
		res, err := api.ListCertificates(ctx, connect.NewRequest(req))
		if err != nil {
			return list, err
		}
		list.Mode, list.Leader = res.Msg.GetMode(), res.Msg.GetLeader()
		for _, n := range res.Msg.GetCounts() {
			list.Counts[word(n.GetState().String(), "STATE_")] = n.GetCount()
		}
		list.Certificates = append(list.Certificates, shapes(res.Msg.GetCertificates(), certOf)...)
		req.After = res.Msg.GetAfter()
		list.More = req.GetAfter() != ""
		if !list.More || limit > 0 && len(list.Certificates) >= limit {
			return list, nil
		}
	}
}

func (c *console) certTable(list certListShape) error {
	var rows [][]string
	var notes []string
	for _, s := range list.Certificates {
		issuer := s.Issuer
		if s.CoveredBy != "" {
			issuer = "as " + s.CoveredBy
		}
		rows = append(rows, []string{s.Host, s.State, cmp.Or(s.Source, "-"), cmp.Or(issuer, "-"), when(s.NotAfter), when(s.RenewAt)})
		if note := s.note(); note != "" {
			notes = append(notes, note)
		}
	}
	empty := "no certificates; a deploy brings hosts that get some"
	if list.Mode == "off" {
		empty = "the node has no certificates: it was started with --tls off"
	}
	if err := c.table(empty, []string{"HOST", "STATE", "SOURCE", "ISSUER", "UNTIL", "RENEWAL"}, rows); err != nil {
		return err
	}
	if list.More {
		var all uint64
		for _, n := range list.Counts {
			all += n
		}
		notes = append(notes, fmt.Sprintf("the first %d of %d; for all: orla certs list --limit 0", len(rows), all))
	}
	if list.Leader != "" {
		notes = append(notes, "ordered by node "+list.Leader)
	}
	for _, note := range notes {
		if err := c.printf("%s\n", plain(note)); err != nil {
			return err
		}
	}
	return nil
}

// note says what a table has no room for; empty: nothing.
func (s certShape) note() string {
	switch f := s.Failure; {
	case f != nil:
		return fmt.Sprintf("%s: %s (attempt %d by %s; next try at %s)", s.Host, f.Error, f.Attempts, f.Node, when(f.Next))
	case s.Reason != "" && s.State != "pending" && s.State != "on demand":
		return s.Host + ": " + s.Reason
	}
	return ""
}

func certsShow(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show HOST", Short: "Show the certificate that a host has", Args: exact("HOST"),
		Example: "  orla certs show shop.example\n  orla certs show shop.example --pem > chain.pem",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeHosts
	onlyPEM := cmd.Flags().Bool("pem", false, "print the certificate and its chain only, in PEM")
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (certShape, error) {
		res, err := api.ShowCertificate(ctx, connect.NewRequest(&orlav1.ShowCertificateRequest{Host: args[0]}))
		if err != nil {
			return certShape{}, err
		}
		return certOf(res.Msg.GetCertificate()), nil
	}, func(s certShape) error {
		if *onlyPEM {
			return c.printf("%s", s.PEM)
		}
		return c.certLines(s)
	})
}

// certLines prints all about a certificate.
func (c *console) certLines(s certShape) error {
	lines := [][2]string{
		{"host", s.Host},
		{"state", s.State},
		{"", s.Reason},
		{"covered by", s.CoveredBy},
		{"source", s.Source},
		{"names", strings.Join(s.Names, " ")},
		{"issuer", s.Issuer},
		{"serial", s.Serial},
		{"SHA-256", s.Fingerprint},
	}
	if !s.NotAfter.IsZero() {
		left := time.Until(s.NotAfter)
		lines = append(lines, [2]string{"from", when(s.NotBefore)}, [2]string{"until", fmt.Sprintf("%s, %s", when(s.NotAfter), days(left))})
	}
	if !s.RenewAt.IsZero() {
		lines = append(lines, [2]string{"renewal", when(s.RenewAt)})
	}
	lines = append(lines, [2]string{"directory", s.Directory})
	if s.Node != "" {
		by := "ordered by node " + s.Node
		if s.Who != "" {
			by = fmt.Sprintf("imported by %s at node %s", s.Who, s.Node)
		}
		lines = append(lines, [2]string{"origin", by + ", " + when(s.Created)})
	}
	if f := s.Failure; f != nil {
		lines = append(lines, [2]string{"failed", f.Error}, [2]string{"attempts", fmt.Sprintf("%d, the last at %s by node %s", f.Attempts, when(f.Last), f.Node)}, [2]string{"next try", when(f.Next)})
	}
	for _, l := range lines {
		if l[1] == "" {
			continue
		}
		if err := c.printf("%-11s %s\n", l[0], plain(l[1])); err != nil {
			return err
		}
	}
	return nil
}

// days says how much time is left.
func days(left time.Duration) string {
	switch n := int(left.Hours() / 24); {
	case left <= 0:
		return "which is over"
	case n < 2:
		return fmt.Sprintf("%d hours left", int(left.Hours()))
	default:
		return fmt.Sprintf("%d days left", n)
	}
}

// completeHosts completes the first argument with the hosts that certificates are for.
func (n *nodeFlags) completeHosts(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	api, err := n.api()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	res, err := api.ListCertificates(ctx, connect.NewRequest(&orlav1.ListCertificatesRequest{}))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var hosts []string
	for _, cert := range res.Msg.GetCertificates() {
		hosts = append(hosts, cert.GetSubject())
	}
	return hosts, cobra.ShellCompDirectiveNoFileComp
}
