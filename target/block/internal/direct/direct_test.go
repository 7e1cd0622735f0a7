package direct

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Memory may begin anywhere, and be larger than the buffers.
func TestAnyMemory(t *testing.T) {
	const (
		goroutines = 16
		part       = 2*BufferSize + 4096
		align      = 4096
	)
	dir, err := os.MkdirTemp(".", "direct-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	disk, err := os.OpenFile(filepath.Join(dir, "disk"), os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	f := New(disk, align)
	defer f.Close()
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			memory := make([]byte, part+align)
			p := memory[g : g+part]
			for i := range p {
				p[i] = byte(g + i>>9)
			}
			want := bytes.Clone(p)
			if n, err := f.WriteAt(p, int64(g)*part); n != part || err != nil {
				t.Errorf("WriteAt: %d, %v", n, err)
			}
			clear(memory)
			if n, err := f.ReadAt(p, int64(g)*part); n != part || err != nil {
				t.Errorf("ReadAt: %d, %v", n, err)
			}
			if !bytes.Equal(p, want) {
				t.Errorf("part %d is not what was written", g)
			}
		})
	}
	wg.Wait()
	// A range that ends behind the file isn't read as anything.
	p := make([]byte, BufferSize+1)[1:]
	n, err := f.ReadAt(p, goroutines*part-4096)
	wantN, wantErr := disk.ReadAt(f.Take(), goroutines*part-4096)
	if n > wantN || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("ReadAt over the end: %d, %v, want %d, %v", n, err, wantN, wantErr)
	}
}
