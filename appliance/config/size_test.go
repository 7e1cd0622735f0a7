package config

import "testing"

func TestParseSize(t *testing.T) {
	tests := []struct {
		in   string
		want int64 // -1 is an error
	}{
		{"64GiB", 64 << 30}, {"1.5TiB", 3 << 39}, {"500MB", 500_000_000}, {"1B", 1}, {"0B", 0}, {"64 GiB", 64 << 30},
		{"2KiB", 2048}, {"2KB", 2000}, {"1PiB", 1 << 50}, {"1PB", 1e15}, {"0.1GiB", 107374183}, {"8191PiB", 8191 << 50},
		{"8192PiB", -1}, {"99999999999999999999999PiB", -1}, {"1e9GiB", -1}, {"1/2GiB", -1}, {"-1GiB", -1}, {"+1GiB", -1},
		{"", -1}, {"GiB", -1}, {"64", -1}, {"64G", -1}, {"64Gb", -1}, {"64GIB", -1}, {"64EiB", -1}, {"1.GiB", -1}, {".5GiB", -1},
		{"1.2.3GiB", -1}, {"1,5GiB", -1}, {"0x10GiB", -1}, {"64GiBGiB", -1}, {" 64GiB", -1}, {"１GiB", -1},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.in)
		if err != nil {
			got = -1
		}
		if got != tt.want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestVolumeSizeRoundsUp(t *testing.T) {
	for in, want := range map[string]int64{"500MB": 120 * Extent, "4MiB": Extent, "4194305B": 2 * Extent, "1GiB": 1 << 30} {
		if got, err := volumeSize(in); got != want || err != nil {
			t.Errorf("volumeSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"0B", "1B", "4095KiB", "9223372036854775807B"} {
		if got, err := volumeSize(in); err == nil {
			t.Errorf("volumeSize(%q) = %d, want an error", in, got)
		}
	}
}
