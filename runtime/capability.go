package runtime

import (
	"strings"

	"github.com/orla-edge/orla/runtime/httpwasm"
)

// capabilities says what the functions that guests may import are for. It decides
// nothing: every guest is offered all of them, and what they reach is decided where
// they are implemented, and for the key-value store by the function's grants.
var capabilities = []struct{ module, name, functions string }{
	{wasi, "arguments", "args_get args_sizes_get"},
	{wasi, "environment", "environ_get environ_sizes_get"},
	{wasi, "clock", "clock_res_get clock_time_get"},
	{wasi, "random", "random_get"},
	{wasi, "exit", "proc_exit proc_raise"},
	{wasi, "waiting", "poll_oneoff sched_yield"},
	// Standard input, output and error are descriptors like any other.
	{wasi, "streams", "fd_close fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_read fd_renumber fd_write"},
	{wasi, "files", "fd_advise fd_allocate fd_datasync fd_filestat_get fd_filestat_set_size fd_filestat_set_times" +
		" fd_pread fd_prestat_dir_name fd_prestat_get fd_pwrite fd_readdir fd_seek fd_sync fd_tell" +
		" path_create_directory path_filestat_get path_filestat_set_times path_link path_open path_readlink" +
		" path_remove_directory path_rename path_symlink path_unlink_file"},
	{wasi, "sockets", "sock_accept sock_recv sock_send sock_shutdown"},
	{httpwasm.Module, "configuration", "get_config"},
	{httpwasm.Module, "logging", "log log_enabled"},
	{httpwasm.Module, "request", "get_method set_method get_uri set_uri get_protocol_version get_source_addr"},
	{httpwasm.Module, "response", "get_status_code set_status_code"},
	{httpwasm.Module, "headers", "get_header_names get_header_values set_header_value add_header_value remove_header"},
	{httpwasm.Module, "bodies", "read_body write_body enable_features"},
	{kvModule, "kv", "get put delete list"},
}

// Capability says in a word what an imported function is for: "clock", "files". It is
// empty for what no ABI offers.
func Capability(module, function string) string {
	for _, c := range capabilities {
		if c.module != module {
			continue
		}
		for f := range strings.FieldsSeq(c.functions) {
			if f == function {
				return c.name
			}
		}
	}
	return ""
}
