package memory

// Method is how the pages that were written to are found.
type Method string

// The methods, best first. Systems other than Linux have none.
const (
	// Scan asks for them with the PAGEMAP_SCAN ioctl (Linux 6.7).
	Scan Method = "PAGEMAP_SCAN"
	// Read reads /proc/self/pagemap.
	Read Method = "pagemap"
	// Discard finds nothing and gives all pages back by madvise(MADV_DONTNEED).
	Discard Method = "MADV_DONTNEED"
	// None is the method of systems without any: memories cannot be reset.
	None Method = "none"
)
