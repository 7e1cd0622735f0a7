package honest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sanstick/target/block"
	"sanstick/target/block/backing"
)

// kind is a way in which targetd opens a disk.
type kind struct {
	name   string
	disk   int  // logical blocks of the disk below, in bytes
	block  int  // those of the unit
	file   bool // a file in an ext4, not the block device itself
	direct bool // of a file
	full   bool // of a file: it has data to begin with, and isn't sparse
}

// proof is what is known of a kind.
type proof struct {
	kind    kind
	unit    *unit
	answers []answer // of the storm
	disk    *disk
	mnt     string // where file systems are mounted after a crash

	image, file []byte // room for those of a crash
}

// observe serves a disk of a kind, has all done that makes data durable, and
// ends it. Without wrap targetd serves.
func observe(t *testing.T, k kind, wrap func(block.Device) block.Device) *proof {
	t.Helper()
	dir := scratch(t)
	p := &proof{kind: k, mnt: filepath.Join(dir, "crash")}
	if err := os.Mkdir(p.mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	holds := make([]byte, unitSize)
	if k.full || !k.file {
		rng := rand.New(rand.NewPCG(2, 0))
		for i := 0; i < len(holds); i += 8 {
			binary.LittleEndian.PutUint64(holds[i:], rng.Uint64())
		}
	}
	var path string
	unmounted := func() {}
	if k.file {
		p.disk = newDisk(t, dir, newFileSystem(t, dir), k.disk)
		var data []byte
		if k.full {
			data = holds
		}
		path, unmounted = mountLive(t, dir, p.disk, unitSize, data)
	} else {
		p.disk = newDisk(t, dir, append([]byte(nil), holds...), k.disk)
		path = p.disk.path
	}
	var addr string
	var stop func()
	if wrap == nil {
		lun := fmt.Sprintf("%s,thin,bs=%d", path, k.block)
		if k.direct {
			lun += ",direct"
		}
		addr, stop = startTargetd(t, lun)
	} else {
		addr, stop = startWrapped(t, path, backing.Options{LogicalBlock: k.block, Direct: k.direct}, wrap)
	}
	p.unit = newUnit(t, addr, p.disk, k.block, holds)
	p.unit.steps()
	p.unit.throughSteps()
	p.answers = p.unit.storm()
	p.image, p.file = plain(t, len(p.disk.before)), plain(t, unitSize)
	p.unit.leave()
	stop()
	unmounted()
	p.disk.end()
	return p
}

// holds returns what the unit holds on a disk with an image.
func (p *proof) holds(image []byte) ([]byte, error) {
	if !p.kind.file {
		return image, nil
	}
	return recovered(image, p.mnt, p.file)
}

// plain returns memory that the race detector doesn't follow: it takes ten times
// as long to copy what it does.
func plain(t *testing.T, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}
