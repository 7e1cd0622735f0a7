package scsi

import (
	"testing"

	"sanstick/target/block/memdev"
)

func TestCost(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	for _, tt := range []struct {
		name, cdb string
		bytes     int64
		counts    bool
	}{
		{"READ (10)", "28 00 00000001 00 0008 00", 4096, true},
		{"WRITE (16)", "8a 00 0000000000000001 00000010 00 00", 8192, true},
		{"VERIFY (10)", "2f 00 00000001 00 0008 00", 4096, true},
		{"WRITE SAME (16)", "93 00 0000000000000001 00000400 00 00", 512 << 10, true},
		{"SYNCHRONIZE CACHE (10)", "35 00 00000000 00 0000 00", 0, true},
		{"UNMAP", "42 00 00000000 00 0018 00", 0, true},
		{"TEST UNIT READY", "00 00 00 00 00 00", 0, false},
		{"INQUIRY", "12 00 00 00 24 00", 0, false},
		{"beyond the end", "28 00 7fffffff 00 0001 00", 0, false},
		{"unknown", "ff 00 00 00 00 00", 0, false},
	} {
		bytes, counts := r.nexus.NewTask([8]byte{}, cdb(tt.cdb)).Cost(nil)
		if bytes != tt.bytes || counts != tt.counts {
			t.Errorf("%s: %d, %v; want %d, %v", tt.name, bytes, counts, tt.bytes, tt.counts)
		}
	}
}

// A copy costs what it moves, in blocks of the end that its segment counts in.
func TestCostOfACopy(t *testing.T) {
	r := newCopyRig(t)
	list := r.spec(copySegmentOf(0, 0, 2, 8, 0, 0), copySegmentOf(2, 1, 2, 3, 0, 0)).encode()
	task := r.nexus.NewTask([8]byte{}, cdb(copyCDB(len(list))))
	const want = 8*512 + 3*4096
	if bytes, counts := task.Cost(list); bytes != want || !counts {
		t.Errorf("%d, %v; want %d", bytes, counts, want)
	}
	if _, counts := task.Cost(list[:10]); counts {
		t.Error("a list that can't be read counts")
	}
}
