package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/orla-edge/orla/modules/store"
)

func TestParse(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	tests := []struct{ url, want, says string }{
		{url: "s3://bucket", want: "s3://bucket"},
		{url: "s3://bucket/some/prefix/", want: "s3://bucket/some/prefix"},
		{url: "s3://bucket/p?endpoint=minio.example:9000&region=eu-west-1&credentials=/etc/orla/s3&profile=orla", want: "s3://bucket/p"},
		{url: "s3://bucket/p?endpoint=http://127.0.0.1:9000", want: "s3://bucket/p"},
		{url: "s3://bucket/p?endpoint=https://minio.example/", want: "s3://bucket/p"},
		{url: "oci://registry.example/team/blobs", want: "oci://registry.example/team/blobs"},
		{url: "oci://127.0.0.1:5000/blobs?http=true", want: "oci://127.0.0.1:5000/blobs"},
		{url: "", says: "want s3://BUCKET"},
		{url: "s3://", says: "want s3://BUCKET"},
		{url: "bucket", says: "want s3://BUCKET"},
		{url: "gs://bucket", says: "want s3://BUCKET"},
		{url: "s3://bucket#x", says: "want s3://BUCKET"},
		{url: "s3://bucket?endpont=x", says: `unknown parameter "endpont"; there are endpoint, region`},
		{url: "s3://bucket?secret=hunter2", says: "unknown parameter"},
		{url: "s3://bucket?region=a&region=b", says: `give "region" once`},
		{url: "s3://bucket?endpoint=http://a/b", says: "ndpoint"},
		{url: "s3://bucket?endpoint=%zz", says: "invalid URL escape"},
		{url: "s3://key:hunter2@bucket", says: "AWS_ACCESS_KEY_ID"},
		{url: "s3://key:hunter2@bu cket", says: "not a URL"},
		{url: "oci://registry.example", says: "registry.example"},
		{url: "oci://registry.example/blobs:latest", says: "leave out"},
		{url: "oci://registry.example/blobs?http=1", says: "true or false"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			s, err := store.Parse(tt.url)
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("Parse(%q) = %v, want %q and no password", tt.url, err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(s); got != tt.want {
				t.Errorf("Parse(%q) = %s, want %s", tt.url, got, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Setenv("DOCKER_CONFIG", f.TempDir())
	for _, seed := range []string{"s3://b/p?endpoint=h:1&region=r", "oci://r/x?http=true", "s3://u:p@b", "::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if s, err := store.Parse(raw); (s == nil) == (err == nil) {
			t.Errorf("Parse(%q) = %v, %v", raw, s, err)
		}
	})
}
