package site

import (
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// mediaTypes are the types by extension, as IANA registers them or as browsers
// expect them. The operating system's tables are not asked, so that a release is
// the same wherever it was packed.
var mediaTypes = map[string]string{
	// Text and code.
	"html": "text/html", "htm": "text/html", "xhtml": "application/xhtml+xml",
	"css": "text/css", "js": "text/javascript", "mjs": "text/javascript", "cjs": "text/javascript",
	"ts": "text/plain", "tsx": "text/plain", "jsx": "text/plain", "go": "text/plain", "rs": "text/plain",
	"c": "text/plain", "h": "text/plain", "cpp": "text/plain", "hpp": "text/plain", "py": "text/plain",
	"rb": "text/plain", "java": "text/plain", "sh": "text/plain", "sql": "text/plain", "log": "text/plain",
	"txt": "text/plain", "text": "text/plain", "asc": "text/plain", "ini": "text/plain", "conf": "text/plain",
	"md": "text/markdown", "markdown": "text/markdown", "csv": "text/csv", "tsv": "text/tab-separated-values",
	"ics": "text/calendar", "vcf": "text/vcard", "vtt": "text/vtt", "rst": "text/plain", "diff": "text/plain",
	"patch": "text/plain", "srt": "application/x-subrip", "yaml": "application/yaml", "yml": "application/yaml",
	"toml": "application/toml", "tex": "application/x-tex", "wgsl": "text/wgsl", "glsl": "text/plain",
	// Data.
	"json": "application/json", "map": "application/json", "json5": "application/json5",
	"jsonld": "application/ld+json", "geojson": "application/geo+json", "topojson": "application/json",
	"ndjson": "application/x-ndjson", "jsonl": "application/x-ndjson", "har": "application/json",
	"webmanifest": "application/manifest+json", "importmap": "application/importmap+json",
	"xml": "application/xml", "xsd": "application/xml", "xsl": "application/xslt+xml", "xslt": "application/xslt+xml",
	"rss": "application/rss+xml", "atom": "application/atom+xml", "opml": "text/x-opml", "rdf": "application/rdf+xml",
	"kml": "application/vnd.google-earth.kml+xml", "kmz": "application/vnd.google-earth.kmz", "gpx": "application/gpx+xml",
	"wasm": "application/wasm", "parquet": "application/vnd.apache.parquet", "sqlite": "application/vnd.sqlite3",
	"pbf": "application/x-protobuf", "mvt": "application/vnd.mapbox-vector-tile", "pmtiles": "application/vnd.pmtiles",
	// Images.
	"svg": "image/svg+xml", "png": "image/png", "apng": "image/apng", "jpg": "image/jpeg", "jpeg": "image/jpeg",
	"jfif": "image/jpeg", "gif": "image/gif", "webp": "image/webp", "avif": "image/avif", "jxl": "image/jxl",
	"heic": "image/heic", "heif": "image/heif", "ico": "image/vnd.microsoft.icon", "cur": "image/vnd.microsoft.icon",
	"bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff", "psd": "image/vnd.adobe.photoshop",
	// Fonts.
	"woff2": "font/woff2", "woff": "font/woff", "ttf": "font/ttf", "otf": "font/otf", "ttc": "font/collection",
	"eot": "application/vnd.ms-fontobject",
	// Sound and video.
	"mp3": "audio/mpeg", "m4a": "audio/mp4", "aac": "audio/aac", "oga": "audio/ogg", "ogg": "audio/ogg",
	"opus": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "weba": "audio/webm", "mid": "audio/midi",
	"midi": "audio/midi", "mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/quicktime", "webm": "video/webm",
	"ogv": "video/ogg", "mkv": "video/matroska", "avi": "video/x-msvideo", "mpeg": "video/mpeg", "mpg": "video/mpeg",
	"3gp": "video/3gpp", "m3u8": "application/vnd.apple.mpegurl", "m3u": "audio/mpegurl", "mpd": "application/dash+xml",
	"m2ts": "video/mp2t", "m4s": "video/iso.segment",
	// 3D.
	"gltf": "model/gltf+json", "glb": "model/gltf-binary", "stl": "model/stl", "obj": "model/obj",
	"usdz": "model/vnd.usdz+zip",
	// Documents and archives.
	"pdf": "application/pdf", "epub": "application/epub+zip", "rtf": "application/rtf",
	"doc": "application/msword", "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"xls": "application/vnd.ms-excel", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"ppt": "application/vnd.ms-powerpoint", "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	"odt": "application/vnd.oasis.opendocument.text", "ods": "application/vnd.oasis.opendocument.spreadsheet",
	"odp": "application/vnd.oasis.opendocument.presentation", "ps": "application/postscript",
	"zip": "application/zip", "gz": "application/gzip", "tgz": "application/gzip", "bz2": "application/x-bzip2",
	"xz": "application/x-xz", "zst": "application/zstd", "br": "application/octet-stream", "7z": "application/x-7z-compressed",
	"rar": "application/vnd.rar", "tar": "application/x-tar", "jar": "application/java-archive",
	"apk": "application/vnd.android.package-archive", "dmg": "application/x-apple-diskimage",
	"deb": "application/vnd.debian.binary-package", "rpm": "application/x-rpm", "iso": "application/x-iso9660-image",
	"bin": "application/octet-stream", "exe": "application/octet-stream", "dll": "application/octet-stream",
	"so": "application/octet-stream", "dat": "application/octet-stream", "data": "application/octet-stream",
	"torrent": "application/x-bittorrent", "pem": "application/x-pem-file", "crt": "application/x-x509-ca-cert",
	"p7s": "application/pkcs7-signature", "sig": "application/pgp-signature", "gpg": "application/pgp-encrypted",
	"swf": "application/x-shockwave-flash",
}

// MediaType returns the Content-Type to send for a file: from its extension, in any
// case, else from the first bytes of its content (WHATWG MIME Sniffing, of which
// 512 bytes are looked at; nil if they are not at hand), else
// application/octet-stream.
//
// Text gets "charset=utf-8", unless head shows that it is another encoding: a
// charset in the header would override the one that the document declares.
func MediaType(path string, head []byte) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		if t, ok := mediaTypes[strings.ToLower(name[dot+1:])]; ok {
			if textual(t) && plausibleUTF8(head) {
				return t + "; charset=utf-8"
			}
			return t
		}
	}
	if len(head) == 0 {
		return "application/octet-stream"
	}
	t := http.DetectContentType(head)
	if base, ok := strings.CutSuffix(t, "; charset=utf-8"); ok && !plausibleUTF8(head) {
		return base
	}
	return t
}

// textual reports whether a type takes a charset parameter, in practice: text, and
// what browsers decode like it. JSON has none (RFC 8259 §11).
func textual(mediaType string) bool {
	switch mediaType {
	case "application/xml", "application/xhtml+xml", "application/rss+xml", "application/atom+xml",
		"application/xslt+xml", "application/rdf+xml", "application/x-subrip", "image/svg+xml":
		return true
	}
	return strings.HasPrefix(mediaType, "text/")
}

// plausibleUTF8 reports whether head may begin a text in UTF-8. Its last rune may be
// cut off.
func plausibleUTF8(head []byte) bool {
	for len(head) > 0 {
		r, size := utf8.DecodeRune(head)
		if r == utf8.RuneError && size <= 1 {
			return !utf8.FullRune(head)
		}
		head = head[size:]
	}
	return true
}

// Sizes between which a content is worth variants, in bytes. Below, the header
// fields cost what the coding saves, and the answer fits one packet anyway; above,
// a deploy would take minutes.
const (
	minCompressible = 256
	maxCompressible = 256 << 20
)

// Compressible reports whether a content of that type and size in bytes is worth
// trying to compress: text, and binary formats that are not compressed themselves.
func Compressible(mediaType string, size int64) bool {
	if size < minCompressible || size > maxCompressible {
		return false
	}
	t, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return false
	}
	switch t {
	case "application/json", "application/xml", "application/javascript", "application/wasm",
		"application/x-ndjson", "application/yaml", "application/toml", "application/json5", "application/rtf",
		"application/postscript", "application/x-tex", "application/x-subrip", "application/vnd.apple.mpegurl",
		"application/vnd.ms-fontobject", "application/x-pem-file", "application/x-tar", "application/vnd.sqlite3",
		"application/vnd.mapbox-vector-tile", "application/x-protobuf", "audio/mpegurl",
		"font/ttf", "font/otf", "font/collection", "image/bmp", "image/svg+xml", "image/vnd.microsoft.icon",
		"image/x-icon", "model/stl", "model/obj", "model/gltf-binary":
		return true
	}
	return strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml")
}
