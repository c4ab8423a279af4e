package node

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/orla-edge/orla/control"
)

const offlineFile = "audit.offline"

// NoteOffline has the node of a data directory, which is stopped, put into the audit log
// what the user of this process has done to it, when it is up and has a register. An id
// is noted once.
func NoteOffline(dir, id, action, detail string, at time.Time) error {
	who := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	return control.Offline{ID: id, Time: at, Who: "user " + who, Action: action, Detail: detail}.Note(filepath.Join(dir, offlineFile))
}
