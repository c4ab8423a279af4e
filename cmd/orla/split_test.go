package main

import (
	"strings"
	"testing"
)

func TestParsePercent(t *testing.T) {
	for text, want := range map[string]uint32{
		"100": 10000, "90": 9000, "10%": 1000, "0.5": 50, "0.05": 5, "99.99": 9999, "33.30": 3330, "1.": 100, "007": 700,
		"": 0, "%": 0, ".5": 0, "0": 0, "0.00": 0, "100.01": 0, "101": 0, "-1": 0, "+1": 0, "1e1": 0, "1,5": 0, "0.001": 0, "50%%": 0, "99999999999999999999": 0, "1.-1": 0, "1. 1": 0,
	} {
		if got, err := parsePercent(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("parsePercent(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func FuzzParseShares(f *testing.F) {
	f.Add("4=90 5=10")
	f.Add("4=99.5% 5=0.5%")
	f.Add("4=1e2")
	f.Fuzz(func(t *testing.T, text string) {
		shares, err := parseShares(strings.Fields(text))
		if err != nil {
			return
		}
		total := uint32(0)
		for _, s := range shares {
			total += s.GetWeight()
		}
		if total != 100*perPercent {
			t.Errorf("parseShares(%q) adds up to %d", text, total)
		}
		again, err := parseShares(strings.Fields(sharesText(shares)))
		if err != nil || len(again) != len(shares) {
			t.Fatalf("%q is written as %q, which is %v, %v", text, sharesText(shares), again, err)
		}
		for i, s := range again {
			if s.GetWeight() != shares[i].GetWeight() || s.GetRelease() != shares[i].GetRelease() {
				t.Errorf("%q is written as %q", text, sharesText(shares))
			}
		}
	})
}
