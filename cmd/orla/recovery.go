package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// savedShape is an export as --json prints it.
type savedShape struct {
	Node      string    `json:"node"`
	Created   time.Time `json:"created"`
	Revision  uint64    `json:"revision"`
	Entries   uint64    `json:"entries"`
	Heads     uint64    `json:"heads"`
	Manifests uint64    `json:"manifests"`
	Blobs     uint64    `json:"blobs"`
	Bytes     uint64    `json:"bytes"`
}

func savedOf(s *orlav1.ExportSummary) savedShape {
	return savedShape{
		s.GetNode(), s.GetCreated().AsTime(), s.GetRevision(), s.GetEntries(), s.GetHeads(), s.GetManifests(), s.GetBlobs(), s.GetBytes(),
	}
}

func clusterExportCommand(c *console) *cobra.Command {
	var blobs bool
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Save the register, and what it remembers, to a file",
		Long: `Save everything that the register has (apps and their history, hosts, tokens,
secrets, which stay sealed) and the manifests of all remembered releases to a tar
archive; with --blobs their content too. FILE "-" is the standard output. It needs
an admin's token. What functions keep with 'kv' is not in it.`,
		Example: `  orla cluster export register.tar
  orla cluster export --blobs - > everything.tar`,
		Args: exact("FILE"),
	}
	cmd.Flags().BoolVar(&blobs, "blobs", false, "all content too")
	n := c.nodeFlags(cmd)
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := n.api()
		if err != nil {
			return err
		}
		if args[0] == "-" && asJSON {
			return usagef("--json goes with a file, not with -")
		}
		summary, err := c.export(cmd.Context(), api, args[0], blobs)
		if err != nil {
			return err
		}
		if asJSON {
			return c.json(savedOf(summary))
		}
		c.tell("%s of %s up to revision %d, %s, %s of %d bytes\n", plural(summary.GetHeads(), "app"), plain(summary.GetNode()),
			summary.GetRevision(), plural(summary.GetManifests(), "manifest"), plural(summary.GetBlobs(), "blob"), summary.GetBytes())
		return nil
	}
	return cmd
}

// export writes an export to the file, which has its name only once it is whole.
func (c *console) export(ctx context.Context, api orlav1connect.ControlServiceClient, name string, blobs bool) (*orlav1.ExportSummary, error) {
	stream, err := api.ExportCluster(ctx, connect.NewRequest(&orlav1.ExportClusterRequest{Blobs: blobs}))
	if err != nil {
		return nil, err
	}
	defer stream.Close() //nolint:errcheck // only read
	if name == "-" {
		return receiveExport(stream, c.out)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	summary, err := receiveExport(stream, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return summary, os.Rename(f.Name(), name)
}

func receiveExport(stream *connect.ServerStreamForClient[orlav1.ExportClusterResponse], w io.Writer) (*orlav1.ExportSummary, error) {
	for stream.Receive() {
		if s := stream.Msg().GetSummary(); s != nil {
			return s, nil
		}
		if _, err := w.Write(stream.Msg().GetData()); err != nil {
			return nil, err
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return nil, errors.New("the export ended early; try again")
}

// broughtShape is what an import has done as --json prints it.
type broughtShape struct {
	Added    uint64   `json:"added"`
	Changed  uint64   `json:"changed"`
	Removed  uint64   `json:"removed"`
	Same     uint64   `json:"same"`
	Blobs    uint64   `json:"blobs"`
	Remade   bool     `json:"remade"`
	Revision uint64   `json:"revision"`
	Missing  []string `json:"missing,omitempty"`
}

func clusterImportCommand(c *console) *cobra.Command {
	var replace, dry, asJSON bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Bring the register back from an export",
		Long: `Make the register from a file that 'orla cluster export' has written, or from a hub's
own DATA/backup. In a cluster without apps everything is added. Where there are
apps, --replace makes the register equal to the file, and removes what is not in
it. A register that was lost, which nodes say loudly and do not obey, is made
anew; every node takes it over. Without content in the file, releases whose
content no node has any more are refused until they are deployed again.`,
		Example: `  orla cluster import register.tar
  orla cluster import --replace --dry-run register.tar`,
		Args: exact("FILE"),
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "make a register that has apps equal to the file")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = nil // a file
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := n.api()
		if err != nil {
			return err
		}
		plan, err := sendExport(cmd.Context(), api, args[0], replace, true)
		if err != nil {
			return err
		}
		c.tellImport(plan, dry)
		if !dry {
			if plan, err = sendExport(cmd.Context(), api, args[0], replace, false); err != nil {
				return err
			}
		}
		if asJSON {
			return c.json(broughtShape{
				plan.GetAdded(), plan.GetChanged(), plan.GetRemoved(), plan.GetSame(), plan.GetBlobs(), plan.GetRemade(), plan.GetRevision(), plan.GetMissing(),
			})
		}
		if !dry {
			return c.printf("imported: the register is at revision %d\n", plan.GetRevision())
		}
		return nil
	}
	return cmd
}

func (c *console) tellImport(plan *orlav1.ImportClusterResponse, dry bool) {
	if plan.GetRemade() {
		c.tell("the register was lost: it is made anew\n")
	}
	c.tell("%s to add, %d to change, %d to remove, %d as they are\n", plural(plan.GetAdded(), "key"), plan.GetChanged(), plan.GetRemoved(), plan.GetSame())
	if dry && len(plan.GetMissing()) > 0 {
		c.tell("not on this node, unless the file has it: %s\n", plain(strings.Join(plan.GetMissing(), ", ")))
	}
}

// sendExport sends a file to the node; for a dry run only its beginning.
func sendExport(ctx context.Context, api orlav1connect.ControlServiceClient, name string, replace, dry bool) (*orlav1.ImportClusterResponse, error) {
	f, err := os.Open(name) //nolint:gosec // the file that was named
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var r io.Reader = bufio.NewReaderSize(f, importPiece)
	if dry {
		end, err := registerEnd(f)
		if err != nil {
			return nil, fmt.Errorf("%s is not an export of a cluster: %w", name, err)
		}
		r = io.NewSectionReader(f, 0, end)
	}
	stream := api.ImportCluster(ctx)
	piece := &orlav1.ImportClusterRequest{Replace: replace, DryRun: dry}
	buf := make([]byte, importPiece)
	for {
		n, err := io.ReadFull(r, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		if n == 0 {
			break
		}
		piece.Data = buf[:n]
		if err := stream.Send(piece); err != nil {
			break // the answer has the reason
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

const importPiece = 256 << 10

// registerEnd is where the first file of the archive ends.
func registerEnd(f *os.File) (int64, error) {
	h, err := tar.NewReader(f).Next()
	if err != nil {
		return 0, err
	}
	at, err := f.Seek(0, io.SeekCurrent)
	return at + h.Size, err
}

// rescuedShape is how the hubs are, and what was done, as --json prints it.
type rescuedShape struct {
	Hubs     []hubStateShape `json:"hubs"`
	Leader   string          `json:"leader,omitempty"`
	Stuck    bool            `json:"stuck"`
	Lost     string          `json:"lost,omitempty"`
	Done     bool            `json:"done"`
	Removed  []string        `json:"removed,omitempty"`
	Remade   bool            `json:"remade"`
	Revision uint64          `json:"revision"`
}

type hubStateShape struct {
	Name string `json:"name"`
	Here bool   `json:"here"`
}

func clusterRescueCommand(c *console) *cobra.Command {
	var yes bool
	var forget string
	cmd := &cobra.Command{
		Use:   "rescue",
		Short: "Bring changes back after a majority of the hubs was lost for good",
		Long: `Ask a hub that is left how the hubs are, and say what a rescue would do. With --yes
do it: hubs that do not answer no longer count, those that are left choose a
leader, and changes are taken again. If the register itself is gone, it is made
anew from what the hub that is asked serves.

At risk is what hubs that are gone have acknowledged, and this one has not heard of.
A hub that does not count any more must not come back with its old data directory:
start it with an empty one, and under another name, or five minutes later.

--forget HUB makes one hub that is gone no longer count, in a cluster that works.`,
		Example: `  orla cluster rescue
  orla cluster rescue --yes
  orla cluster rescue --forget fra2 --yes`,
		Args: exact(),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().StringVar(&forget, "forget", "", "make only this `hub` no longer count")
	return ask(c.nodeFlags(cmd), cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, _ []string) (rescuedShape, error) {
		res, err := api.RescueCluster(ctx, connect.NewRequest(&orlav1.RescueClusterRequest{Apply: yes, Forget: forget}))
		if err != nil {
			return rescuedShape{}, err
		}
		m := res.Msg
		return rescuedShape{
			Hubs: shapes(m.GetHubs(), func(h *orlav1.HubLine) hubStateShape { return hubStateShape{h.GetName(), h.GetHere()} }), Leader: m.GetLeader(),
			Stuck: m.GetStuck(), Lost: m.GetLost(), Done: yes, Removed: m.GetRemoved(), Remade: m.GetRemade(), Revision: m.GetRevision(),
		}, nil
	}, func(s rescuedShape) error { return c.tellRescue(s, forget) })
}

func (c *console) tellRescue(s rescuedShape, forget string) error {
	var rows [][]string
	var gone []string
	for _, h := range s.Hubs {
		state := "here"
		if !h.Here {
			state, gone = "gone", append(gone, plain(h.Name))
		}
		if h.Name == s.Leader && s.Leader != "" {
			state += ", leads"
		}
		rows = append(rows, []string{h.Name, state})
	}
	if err := c.table("no hubs", []string{"HUB", "STATE"}, rows); err != nil {
		return err
	}
	text := "nothing to rescue: a majority is here, and the register is the one that this hub knows"
	switch {
	case s.Done && forget != "":
		text = fmt.Sprintf("%s does not count any more; start another hub in its place", plain(forget))
	case forget != "" && !slices.Contains(gone, plain(forget)):
		text = fmt.Sprintf("%s is not one of the hubs that are gone", plain(forget))
	case forget != "":
		text = fmt.Sprintf("%s would not count any more; --yes does that", plain(forget))
	case s.Done && s.Remade:
		text = fmt.Sprintf("the register was made anew, up to revision %d; changes are taken again", s.Revision)
	case s.Done:
		text = fmt.Sprintf("changes are taken again, at revision %d; start other hubs in the place of %s", s.Revision, strings.Join(s.Removed, ", "))
	case s.Stuck:
		text = fmt.Sprintf("with --yes %s will not count any more, and the hubs that are here go on from revision %d.\n"+
			"At risk: changes that only those that are gone have. They must not come back with their data", strings.Join(gone, ", "), s.Revision)
	case s.Lost != "":
		text = fmt.Sprintf("the register is lost (%s). With --yes it is made anew from what this hub serves, revision %d.\n"+
			"At risk: changes that this hub has not heard of. `orla cluster import` makes it from an export instead", plain(s.Lost), s.Revision)
	}
	return c.printf("%s\n", text)
}
