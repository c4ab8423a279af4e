package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// The bucket is an ordinary NATS key-value bucket: `nats kv` can read it.
const (
	bucket        = "orla"
	streamName    = "KV_" + bucket
	subjectPrefix = "$KV." + bucket + "."
	// republished is where the stream repeats its messages for the edge sync.
	republished = "orla.register."
)

const (
	headerExpect      = "Nats-Expected-Last-Subject-Sequence"
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerOperation   = "KV-Operation"
	headerMarker      = "Nats-Marker-Reason" // on the server's own delete markers
	headerSubject     = "Nats-Subject"
	headerSequence    = "Nats-Sequence"
	headerPending     = "Nats-Num-Pending"
	headerStatus      = "Status"
	// headerBucket is ours: which bucket the message was written to.
	headerBucket = "Orla-Bucket"

	operationDelete = "DEL"
)

// message is an entry as it came, with its place in a batch.
type message struct {
	Entry
	batch    string   // id of the batch it was committed in; empty: alone
	part     uint64   // its place in the batch, from 1
	complete bool     // the last of its batch
	bucket   bucketID // 0: it does not say
}

// newMessage is the message that makes a change to a bucket if the last one of its key
// has the sequence expect.
func newMessage(ch Change, expect uint64, to bucketID) *nats.Msg {
	m := nats.NewMsg(subjectPrefix + ch.Key)
	m.Data = ch.Value
	m.Header.Set(headerExpect, strconv.FormatUint(expect, 10))
	to.mark(m)
	if ch.Value == nil {
		m.Header.Set(headerOperation, operationDelete)
	}
	return m
}

// mark notes in a message to which bucket it is written.
func (id bucketID) mark(m *nats.Msg) {
	if id != 0 {
		m.Header.Set(headerBucket, strconv.FormatInt(int64(id), 10))
	}
}

// parse reads a message that was republished or got.
func parse(m *nats.Msg) (message, error) {
	seq, err := strconv.ParseUint(m.Header.Get(headerSequence), 10, 64)
	if err != nil {
		return message{}, fmt.Errorf("read message on %s: sequence: %w", m.Subject, err)
	}
	msg, err := parseStored(m.Header.Get(headerSubject), m.Header, m.Data)
	if err != nil {
		return message{}, err
	}
	msg.Revision = seq
	return msg, nil
}

// parseStored reads a message but for its sequence.
func parseStored(subject string, header nats.Header, data []byte) (message, error) {
	key, ok := strings.CutPrefix(subject, subjectPrefix)
	if !ok {
		return message{}, fmt.Errorf("read message: subject %q is not of the register", subject)
	}
	msg := message{Entry: Entry{Key: key, Value: data}}
	switch {
	case header.Get(headerOperation) != "", header.Get(headerMarker) != "":
		msg.Value = nil
	case data == nil:
		msg.Value = []byte{}
	}
	if id, err := strconv.ParseInt(header.Get(headerBucket), 10, 64); err == nil {
		msg.bucket = bucketID(id)
	}
	msg.batch = header.Get(headerBatch)
	if msg.batch == "" {
		return msg, nil
	}
	part, err := strconv.ParseUint(header.Get(headerBatchSeq), 10, 64)
	if err != nil || part == 0 {
		return message{}, errors.Join(fmt.Errorf("read message of %q: no place in its batch", key), err)
	}
	msg.part, msg.complete = part, header.Get(headerBatchCommit) != ""
	return msg, nil
}
