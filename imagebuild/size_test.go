package main

import "testing"

func TestSize(t *testing.T) {
	for in, want := range map[string]size{"64MiB": 64 << 20, "4GiB": 4 << 30, "2 TiB": 2 << 40} {
		var s size
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want {
			t.Errorf("%s = %d, %v; want %d", in, s, err, want)
		}
	}
	for _, bad := range []string{"", "4", "4GB", "-1GiB", "0MiB", "1.5GiB", "GiB", "9999999TiB"} {
		var s size
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken as %d", bad, s)
		}
	}
	for s, want := range map[size]string{4 << 30: "4GiB", 1536 << 20: "1536MiB", 7: "7"} {
		if got, err := s.MarshalText(); err != nil || string(got) != want {
			t.Errorf("text of %d is %s, %v; want %s", s, got, err, want)
		}
	}
}
