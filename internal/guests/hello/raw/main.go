//go:build wasip1

// A handler that answers "hello" by the host's functions alone: see guests.Hellos.
package main

import "unsafe"

//go:wasmimport http_handler set_header_value
func setHeaderValue(kind uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, valueSize uint32)

//go:wasmimport http_handler write_body
func writeBody(kind uint32, body unsafe.Pointer, size uint32)

const response = 1

//go:wasmexport handle_request
func handleRequest() uint64 {
	name, value, body := []byte("content-type"), []byte("text/plain"), []byte("hello")
	setHeaderValue(response, unsafe.Pointer(&name[0]), uint32(len(name)), unsafe.Pointer(&value[0]), uint32(len(value)))
	writeBody(response, unsafe.Pointer(&body[0]), uint32(len(body)))
	return 0
}

func main() {}
