package lvm

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What the kernel answers is made here by the rules of drivers/md/dm-ioctl.c:
// each part begins at a multiple of 8 bytes.

func align(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

func nameList(names ...string) []byte {
	var out []byte
	for i, n := range names {
		part := binary.NativeEndian.AppendUint64(nil, 0xfd00)
		part = binary.NativeEndian.AppendUint32(part, 0)
		part = align(append(append(part, n...), 0, 0, 0, 0, 0)) // behind the name: an event's number
		if i < len(names)-1 {
			binary.NativeEndian.PutUint32(part[8:], uint32(len(part)))
		}
		out = append(out, part...)
	}
	return out
}

type target struct {
	start, length uint64
	kind, params  string
}

func targetList(all ...target) []byte {
	var out []byte
	for _, t := range all {
		begin := len(out)
		out = binary.NativeEndian.AppendUint64(out, t.start)
		out = binary.NativeEndian.AppendUint64(out, t.length)
		out = append(out, make([]byte, 24)...)
		copy(out[begin+24:], t.kind)
		out = align(append(append(out, t.params...), 0))
		binary.NativeEndian.PutUint32(out[begin+20:], uint32(len(out)))
	}
	return out
}

func TestParseDeviceNames(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want []string
		fail bool
	}{
		{name: "none", data: make([]byte, 16)},
		{name: "no answer"},
		{name: "one", data: nameList("tank-golden"), want: []string{"tank-golden"}},
		{name: "several", data: nameList("a", "tank-vm--1", "tank-thinpool_tdata_rimage_0"), want: []string{"a", "tank-vm--1", "tank-thinpool_tdata_rimage_0"}},
		{name: "cut off", data: nameList("a", "b")[:20], fail: true},
		{name: "runs in a circle", data: append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 'a'}, make([]byte, 11)...), fail: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseDeviceNames(tt.data)
			if (err != nil) != tt.fail {
				t.Fatalf("error %v, want one: %v", err, tt.fail)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" && !tt.fail {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseTargets(t *testing.T) {
	pool := target{0, 327680, "thin-pool", "1 216/2048 320/2560 - rw discard_passdown queue_if_no_space - 512"}
	two := []target{{0, 8192, "linear", "8:16 2048"}, {8192, 8192, "linear", "8:32 2048"}}
	tests := []struct {
		name string
		data []byte
		n    int
		want []string
		fail bool
	}{
		{name: "none"},
		{name: "one", data: targetList(pool), n: 1, want: []string{"0 327680 thin-pool 1 216/2048 320/2560 - rw discard_passdown queue_if_no_space - 512"}},
		{name: "two", data: targetList(two...), n: 2, want: []string{"0 8192 linear 8:16 2048", "8192 8192 linear 8:32 2048"}},
		{name: "says nothing", data: targetList(target{0, 8, "error", ""}), n: 1, want: []string{"0 8 error"}},
		{name: "fewer than it says", data: targetList(pool), n: 2, fail: true},
		{name: "goes back", data: append(make([]byte, 48), targetList(pool)...), n: 2, fail: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseTargets(tt.data, tt.n)
			if (err != nil) != tt.fail {
				t.Fatalf("error %v, want one: %v", err, tt.fail)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" && !tt.fail {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMapperAnswer(t *testing.T) {
	const head = unix.SizeofDmIoctl
	buf := make([]byte, head+8)
	tests := []struct {
		name        string
		start, size uint32
		want        int
		fail        bool
	}{
		{"targets", head, head + 8, 8, false},
		{"none", head, head, 0, false},
		{"a device that is being made", head, head - 7, 0, false}, // as the kernel answers
		{"longer than the buffer", head, head + 9, 0, true},
		{"begins in the head", 8, head, 0, true},
		{"begins behind the buffer", head + 9, head + 9, 0, true},
	}
	for _, tt := range tests {
		got, err := mapperAnswer(buf, &unix.DmIoctl{Data_start: tt.start, Data_size: tt.size})
		if len(got) != tt.want || (err != nil) != tt.fail {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
	}
}

func FuzzParseTargets(f *testing.F) {
	f.Add(targetList(target{0, 8, "linear", "8:16 0"}), 1)
	f.Add(nameList("a", "b"), 3)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n = min(n, 100)
		lines, err := parseTargets(data, n)
		if err == nil && len(lines) != max(n, 0) {
			t.Errorf("%d targets, want %d", len(lines), n)
		}
		names, _ := parseDeviceNames(data)
		for _, x := range names {
			if x == "" || strings.ContainsRune(x, 0) {
				t.Errorf("name %q", x)
			}
		}
	})
}
