package control

import (
	"fmt"

	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// sharesOf returns the shares of a head's releases: without a split, the live one
// has all.
func sharesOf(head *orlav1.Head) []*orlav1.Share {
	if len(head.GetSplit()) > 0 {
		return head.GetSplit()
	}
	return []*orlav1.Share{{Release: head.GetLive(), Weight: dispatch.Whole}}
}

// partsOf returns what a head asks a node to serve.
func partsOf(head *orlav1.Head) ([]dispatch.Part, error) {
	var parts []dispatch.Part
	for _, share := range sharesOf(head) {
		rel := findRelease(head, share.GetRelease())
		if rel == nil {
			return nil, fmt.Errorf("release %d is not in the head's history", share.GetRelease())
		}
		digest, err := modules.ParseDigest(rel.GetDigest())
		if err != nil {
			return nil, err
		}
		parts = append(parts, dispatch.Part{Number: share.GetRelease(), Digest: digest, Weight: share.GetWeight()})
	}
	return parts, nil
}
