package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// functionShape is how a function is on the node.
type functionShape struct {
	Function    string       `json:"function"`
	ABI         string       `json:"abi"`
	Loaded      bool         `json:"loaded"`
	Mode        string       `json:"mode"` // how an instance is made clean
	Idle        uint32       `json:"idle"`
	Busy        uint32       `json:"busy"`
	MemoryBytes int64        `json:"memoryBytes"`
	Circuit     circuitShape `json:"circuit"`
}

type circuitShape struct {
	Open      bool       `json:"open"`
	Failures  uint32     `json:"failures"` // in a row
	Retry     *time.Time `json:"retry,omitempty"`
	LastError string     `json:"lastError"`
	Opens     uint64     `json:"opens"`
}

func functionOf(f *orlav1.FunctionState) functionShape {
	c := f.GetCircuit()
	s := functionShape{
		Function: f.GetFunction(), ABI: abiName(f.GetAbi()), Loaded: f.GetLoaded(), Mode: f.GetMode(), Idle: f.GetIdle(), Busy: f.GetBusy(),
		MemoryBytes: f.GetMemoryBytes(),
		Circuit:     circuitShape{Open: c.GetOpen(), Failures: c.GetFailures(), LastError: c.GetLastError(), Opens: c.GetOpens()},
	}
	if c.GetRetry() != nil {
		at := c.GetRetry().AsTime()
		s.Circuit.Retry = &at
	}
	return s
}

// state tells in a few words whether the function takes requests now.
func (f functionShape) state(now time.Time) string {
	switch c := f.Circuit; {
	case c.Open && c.Retry != nil && c.Retry.After(now):
		return "keeps failing: 503 until " + when(*c.Retry)
	case c.Open:
		return "keeps failing: the next request tries it"
	case c.Failures > 0:
		return plural(uint64(c.Failures), "failure") + " in a row"
	case !f.Loaded:
		return "not loaded"
	}
	return "ok"
}

// showStates prints how the functions are on the node that was asked.
func (c *console) showStates(res *orlav1.GetAppResponse) error {
	if len(res.GetFunctions()) == 0 {
		return nil
	}
	var rows [][]string
	for _, f := range res.GetFunctions() {
		s := functionOf(f)
		rows = append(rows, []string{
			s.Function, res.GetNode(), s.state(time.Now()), strconv.FormatUint(uint64(s.Busy), 10), strconv.FormatUint(uint64(s.Idle), 10),
			humanize.IBytes(uint64(max(s.MemoryBytes, 0))), dash(s.Mode), firstLine(s.Circuit.LastError),
		})
	}
	return c.section([]string{"FUNCTION", "NODE", "STATE", "BUSY", "IDLE", "MEMORY", "RESET", "LAST ERROR"}, rows)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// firstLine leaves out what follows the cause, such as a guest's stack.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
