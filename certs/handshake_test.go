package certs

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestHas(t *testing.T) {
	m := &Manager{book: newBook(nil)}
	entry := func(key string, left time.Duration) Entry {
		value, err := proto.Marshal(&orlav1.CertRecord{NotAfter: timestamppb.New(time.Now().Add(left))})
		if err != nil {
			t.Fatal(err)
		}
		return Entry{Key: certPrefix + key, Value: value, Revision: 1}
	}
	if err := m.book.apply(true, []Entry{
		entry("a.example", time.Hour), entry("_wild.b.example", time.Hour), entry("old.example", -time.Hour),
		entry("old.b.example", -time.Hour), entry("_wild.c.example", -time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"a.example": true, "x.b.example": true, "old.b.example": true,
		"b.example": false, "x.y.b.example": false, "old.example": false, "x.c.example": false, "x.a.example": false, "": false,
	} {
		if got := m.Has(host); got != want {
			t.Errorf("Has(%q) = %t, want %t", host, got, want)
		}
	}
}
