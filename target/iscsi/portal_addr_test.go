package iscsi

import (
	"net"
	"testing"
)

func TestListenAddress(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, tt := range []struct{ listen, local, want string }{
		{"10.0.0.1:3260", "10.0.0.2:3260", "10.0.0.1:3260"},
		{"[2001:db8::1]:3260", "10.0.0.2:3260", "[2001:db8::1]:3260"},
		{"0.0.0.0:3261", "10.0.0.2:3260", "10.0.0.2:3261"},
		{"[::]:3261", "10.0.0.2:3260", "10.0.0.2:3261"},
		{"[::]:3261", "[2001:db8::1]:3260", "[2001:db8::1]:3261"},
		{"0.0.0.0:3261", "[2001:db8::1]:3260", ""},
		{"127.0.0.1:3260", "10.0.0.2:3260", ""},
		{"127.0.0.1:3260", "127.0.0.1:3261", "127.0.0.1:3260"},
		{"[fe80::1%lo]:3260", "10.0.0.2:3260", ""},
	} {
		if got := listenAddress(tcp(tt.listen), tcp(tt.local)); got != tt.want {
			t.Errorf("listen %s, asked on %s: %q, want %q", tt.listen, tt.local, got, tt.want)
		}
	}
	if got := portalAddress(tcp("[fe80::1%lo]:3260")); got != "[fe80::1]:3260" {
		t.Errorf("zone: %s", got)
	}
	for s, want := range map[string]bool{
		"10.0.0.1:3260": true, "[fd00::1]:3260": true, "san.example.org:860": true,
		"": false, "10.0.0.1": false, "10.0.0.1:0": false, "10.0.0.1:70000": false, ":3260": false, "[fe80::1%eth0]:3260": false, "a b:1": false, "a,2:1": false,
	} {
		if got := isPortal(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
