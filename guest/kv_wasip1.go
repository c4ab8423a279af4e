package guest

import "unsafe"

// The functions of the host, as orla_kv.h has them.

//go:wasmimport orla_kv get
func importKVGet(store unsafe.Pointer, storeSize uint32, key unsafe.Pointer, keySize uint32, buf unsafe.Pointer, limit uint32, revision unsafe.Pointer) int64

//go:wasmimport orla_kv put
func importKVPut(store unsafe.Pointer, storeSize uint32, key unsafe.Pointer, keySize uint32, value unsafe.Pointer, size, ttl uint32, expect int64) int64

//go:wasmimport orla_kv delete
func importKVDelete(store unsafe.Pointer, storeSize uint32, key unsafe.Pointer, keySize uint32, expect int64) int64

//go:wasmimport orla_kv list
func importKVList(store unsafe.Pointer, storeSize uint32, prefix unsafe.Pointer, prefixSize uint32, cursor unsafe.Pointer, cursorSize, most uint32, buf unsafe.Pointer, limit uint32) int64

func hostKVGet(store, key string, buf []byte, revision *uint64) int64 {
	return importKVGet(strPtr(store), uint32(len(store)), strPtr(key), uint32(len(key)), ptr(buf), uint32(len(buf)), unsafe.Pointer(revision))
}

func hostKVPut(store, key string, value []byte, ttl uint32, expect int64) int64 {
	return importKVPut(strPtr(store), uint32(len(store)), strPtr(key), uint32(len(key)), ptr(value), uint32(len(value)), ttl, expect)
}

func hostKVDelete(store, key string, expect int64) int64 {
	return importKVDelete(strPtr(store), uint32(len(store)), strPtr(key), uint32(len(key)), expect)
}

func hostKVList(store, prefix, cursor string, most uint32, buf []byte) int64 {
	return importKVList(strPtr(store), uint32(len(store)), strPtr(prefix), uint32(len(prefix)), strPtr(cursor), uint32(len(cursor)), most, ptr(buf), uint32(len(buf)))
}
