package status

import (
	"testing"
	"time"
)

func TestWorse(t *testing.T) {
	order := []Health{"", OK, Degraded, Failed}
	for i, a := range order {
		for j, b := range order {
			want := order[max(i, j)]
			if got := a.Worse(b); got != want && !(max(i, j) <= 1 && got == a) {
				t.Errorf("%q.Worse(%q) = %q, want %q", a, b, got, want)
			}
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 64 << 30: "64 GiB", 3 << 39: "1.5 TiB",
		1<<30 - 1: "1 GiB", 1<<63 - 1: "8 EiB", 500_000_000: "476.8 MiB", -5: "-5 B"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d) = %q, want %q", n, got, want)
		}
	}
	if got := FormatBytes(uint64(1<<64 - 1)); got != "16 EiB" {
		t.Errorf("the largest size is %q", got)
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Hour: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 59 * time.Minute: "59 min",
		192 * time.Minute: "3 h 12 min", 50 * time.Hour: "2 d 2 h"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	if got := Clean("a\x1b[2J\nb\xff é\u202e\t"); got != "a [2J b  é  " {
		t.Errorf("got %q", got)
	}
}
