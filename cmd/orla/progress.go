package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"github.com/orla-edge/orla/client"
)

// progress shows how far a long piece of work is: a bar on a terminal, a line
// for each step elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	silent   bool
	step     string
	bar      *progressbar.ProgressBar
}

// progress writes to stderr, so that stdout has the result alone.
func (c *console) progress(silent bool) *progress {
	return &progress{w: c.err, terminal: c.isTerminal(c.err), silent: silent}
}

// show tells that done of total are done in a step; item is what is being
// worked on. A step that counts bytes says so.
func (p *progress) show(step string, done, total uint64, item string, bytes bool) {
	if p.silent {
		return
	}
	if p.terminal {
		p.draw(step, done, total, item, bytes)
		return
	}
	if step == p.step {
		return
	}
	p.step = step
	switch {
	case total <= 1 && !bytes:
		p.line(step)
	case bytes:
		p.line(step + " " + humanize.IBytes(total))
	default:
		p.line(fmt.Sprintf("%s %d", step, total))
	}
}

func (p *progress) line(text string) {
	_, _ = io.WriteString(p.w, text+"\n") // what is shown by the way may be lost
}

// deploy shows an event of a deploy.
func (p *progress) deploy(e client.Event) {
	if e.Node != nil {
		p.node(e.Node)
		return
	}
	if e.Step == client.StepUpload {
		p.show(e.Step, e.Bytes, e.TotalBytes, e.Item, true)
		return
	}
	p.show(e.Step, e.Done, e.Total, e.Item, false)
}

func (p *progress) draw(step string, done, total uint64, item string, bytes bool) {
	if step != p.step {
		p.end()
		p.step = step
		most := int64(total)
		if total == 0 {
			most = -1 // a spinner
		}
		p.bar = progressbar.NewOptions64(most,
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionShowBytes(bytes),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(50*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetSpinnerChangeInterval(0), // or a goroutine draws that nothing stops
			progressbar.OptionSetWidth(24),
			progressbar.OptionSetPredictTime(bytes),
		)
	}
	if item != "" {
		step += " " + ending(plain(item), 32)
	}
	p.bar.Describe(step)
	if total > 0 {
		p.bar.ChangeMax64(int64(total))
	}
	_ = p.bar.Set64(int64(done)) // a terminal that has gone is no reason to stop the work
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear() // as above
		p.bar = nil
	}
}

// ending returns the last most characters of a text: of a path, what tells it
// from its neighbours.
func ending(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return "…" + string(runes[len(runes)-most+1:])
}
