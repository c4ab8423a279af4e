package router

import (
	"strings"
	"testing"
)

func TestCleanHost(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, tt := range []struct{ host, want string }{
		{"shop.example", "shop.example"},
		{"Shop.EXAMPLE", "shop.example"},
		{"shop.example:8080", "shop.example"},
		{"shop.example:", "shop.example"},
		{"shop.example.", "shop.example"},
		{"SHOP.example.:443", "shop.example"},
		{"localhost", "localhost"},
		{"my_host-1.example", "my_host-1.example"},
		{"10.0.0.5", "10.0.0.5"},
		{"10.0.0.5:80", "10.0.0.5"},
		{"[::1]", "[::1]"},
		{"[::1]:80", "[::1]"},
		{"[0:0:0:0:0:0:0:1]:80", "[::1]"},
		{"[2001:DB8::A]", "[2001:db8::a]"},
		{label + ".example", label + ".example"},
		{strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a"},

		{"", ""},
		{".", ""},
		{":80", ""},
		{"shop..example", ""},
		{".shop.example", ""},
		{"shop.example..", ""},
		{"shop.example:80a", ""},
		{"shop.example:65536", ""},
		{"shop.example:000080", ""},
		{"shop.example:80:80", ""},
		{"::1", ""},
		{"[::1", ""},
		{"[::1]x", ""},
		{"[::1].example", ""},
		{"[]", ""},
		{"[10.0.0.5]", ""},
		{"[fe80::1%eth0]", ""},
		{"10.0.0.256", ""},
		{"10.0.0.05", ""},
		{"1.2.3", ""},
		{"127.1", ""},
		{"*", ""},
		{"*.shop.example", ""},
		{"user@shop.example", ""},
		{"shop.example/", ""},
		{"shop example", ""},
		{"bücher.example", ""},
		{"shop%2eexample", ""},
		{"shop\x00.example", ""},
		{"a" + label + ".example", ""},
		{strings.Repeat("a.", 126) + "aa", ""},
	} {
		if got := CleanHost(tt.host); got != tt.want {
			t.Errorf("CleanHost(%q) = %q, want %q", tt.host, got, tt.want)
		}
	}
}

func TestCleanHostDoesNotAllocate(t *testing.T) {
	for _, host := range []string{"shop.example", "shop.example:8080", "shop.example.", "10.0.0.5:80", "[::1]", "[2001:db8::a]:443", "not a host"} {
		if n := testing.AllocsPerRun(100, func() { CleanHost(host) }); n != 0 {
			t.Errorf("CleanHost(%q) allocates %v times", host, n)
		}
	}
}

func FuzzCleanHost(f *testing.F) {
	for _, s := range []string{"shop.example:80", "[::1]:80", "SHOP.", "1.2.3.4", "a..b", "[::ffff:1.2.3.4]", "[fe80::1%25eth0]", "*.x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host := CleanHost(s)
		if host == "" {
			return
		}
		if again := CleanHost(host); again != host {
			t.Errorf("CleanHost(%q) = %q, but CleanHost of that = %q", s, host, again)
		}
		if with := CleanHost(host + ":8080"); with != host {
			t.Errorf("CleanHost(%q) = %q, want %q", host+":8080", with, host)
		}
		if pattern, err := ParseHostPattern(host); pattern != host || err != nil {
			t.Errorf("ParseHostPattern(%q) = %q, %v, want the host itself", host, pattern, err)
		}
		if strings.ToLower(host) != host || strings.HasSuffix(host, ".") {
			t.Errorf("CleanHost(%q) = %q, which is not canonical", s, host)
		}
	})
}

func TestParseHostPattern(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"shop.example", "shop.example"},
		{"Shop.Example.", "shop.example"},
		{"*.Shop.example", "*.shop.example"},
		{"*.example", "*.example"},
		{"*", "*"},
		{"localhost", "localhost"},
		{"10.0.0.5", "10.0.0.5"},
		{"[::1]", "[::1]"},
		{"0:0::1", "[::1]"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
	} {
		got, err := ParseHostPattern(tt.in)
		if got != tt.want || err != nil {
			t.Errorf("ParseHostPattern(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestParseHostPatternSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "write a host name"},
		{"shop.example:8080", "leave it out"},
		{"[::1]:80", "leave it out"},
		{"https://shop.example", "write the host name alone"},
		{"shop.example/api", "write the host name alone"},
		{"shop.*", `as in "*.shop.example"`},
		{"*.*.example", `as in "*.shop.example"`},
		{"*shop.example", `as in "*.shop.example"`},
		{"bücher.example", "write its Punycode form"},
		{"*.10.0.0.5", "name the address itself"},
		{"*.[::1]", "name the address itself"},
		{"*.", "not a host name"},
		{"shop..example", "not a host name"},
		{"fe80::1%eth0", "not a host name"},
		{strings.Repeat("a", 1<<20), "not a host name"},
	} {
		got, err := ParseHostPattern(tt.in)
		if err == nil {
			t.Errorf("ParseHostPattern(%.40q) = %q, want an error", tt.in, got)
		} else if !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 500 {
			t.Errorf("ParseHostPattern(%.40q): %.500v, want it to say %q", tt.in, err, tt.want)
		}
	}
}
