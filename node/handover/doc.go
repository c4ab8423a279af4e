// Package handover passes listening sockets and a data directory from one process
// to the next without a moment in which nobody has them, and takes sockets from a
// service manager. It does not know what is served on the sockets, nor what the
// directory holds.
//
// # From one process to the next
//
// The old process starts the new one with [Start]. Sockets come as systemd passes
// them (sd_listen_fds(3)): descriptors from 3 on, their number in LISTEN_FDS, their
// names in LISTEN_FDNAMES. LISTEN_PID is the old process, for the new one's number
// is not known before it runs; in the descriptor that ORLA_HANDOVER names, the two
// talk, a line of JSON at a time:
//
//	old  hello    which address each socket was asked for, and who else has it
//	old  live     what it serves, for the new one to make ready what takes long
//	new  ask      it is ready: its settings are right, and it wants the data directory
//	old  grant    it has let go of the directory, and tells the notes it has on it
//	new  serving  or failed, with the reason
//
// Until "serving" the old process may end the new one and take everything back.
// One that ends, or says nothing for too long, has failed.
//
// # From a service manager
//
// The same variables, with LISTEN_PID the process itself, and no ORLA_HANDOVER.
// The manager keeps the sockets, so that what connects while no process runs waits
// for the next one.
package handover
