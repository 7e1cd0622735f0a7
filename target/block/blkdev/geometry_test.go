package blkdev

import (
	"os"
	"path/filepath"
	"testing"
)

// The smallest physical block of all devices below counts.
func TestAtomicWrite(t *testing.T) {
	sys := t.TempDir()
	file := func(path, content string) {
		path = filepath.Join(sys, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(from, to string) {
		from = filepath.Join(sys, from)
		if err := os.MkdirAll(filepath.Dir(from), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(sys, to), from); err != nil {
			t.Fatal(err)
		}
	}
	file("block/sda/queue/physical_block_size", "4096\n")
	file("block/sdb/queue/physical_block_size", "512\n")
	file("block/sda/sda1/partition", "1\n")
	file("block/dm-0/queue/physical_block_size", "4096\n")
	link("block/dm-0/slaves/sda1", "block/sda/sda1")
	file("block/dm-1/queue/physical_block_size", "4096\n")
	link("block/dm-1/slaves/dm-0", "block/dm-0")
	link("block/dm-1/slaves/sdb", "block/sdb")
	file("block/dm-2/queue/physical_block_size", "4096\n")
	link("block/dm-2/slaves/dm-2", "block/dm-2") // a loop, which the kernel doesn't make
	for minor, name := range []string{"sda", "sdb", "sda/sda1", "dm-0", "dm-1", "dm-2"} {
		link(filepath.Join("dev/block", "8:"+string(rune('0'+minor))), "block/"+name)
	}
	for minor, want := range []int{4096, 512, 4096, 4096, 512, 512, 512} { // the last one doesn't exist
		if got := atomicWrite(sys, 8, uint32(minor)); got != want {
			t.Errorf("device %d: %d bytes, want %d", minor, got, want)
		}
	}
}
