package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"sanstick/appliance/image"
)

// disk is some windows of data, holes and an odd end.
func disk() []byte {
	b := make([]byte, 4*image.Window+3*512)
	rnd := rand.NewChaCha8([32]byte{9})
	rnd.Read(b[:300_000])
	rnd.Read(b[2*image.Window-5000 : 2*image.Window+5000])
	rnd.Read(b[3*image.Window : 4*image.Window])
	rnd.Read(b[len(b)-700:])
	return b
}

func holds(d, disk []byte) error {
	if !bytes.Equal(d[:len(disk)], disk) {
		for i := range disk {
			if d[i] != disk[i] {
				return fmt.Errorf("byte %d differs", i)
			}
		}
	}
	if !image.IsZero(d[len(disk):]) {
		return errors.New("there is something behind the disk")
	}
	return nil
}

func TestCopy(t *testing.T) {
	b := disk()
	for _, tt := range []struct {
		name  string
		size  int64
		fill  byte
		blank bool
	}{
		{"blank", 6 * image.Window, 0, true},
		{"blank and exact", roundUp(int64(len(b))), 0, true},
		{"full of something else", 6 * image.Window, 0xa5, false},
		{"exact and full of something else", roundUp(int64(len(b))), 0xa5, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDevice(t, tt.size, tt.fill)
			var mu sync.Mutex
			told := int64(0)
			tell := func(n int64) {
				mu.Lock()
				defer mu.Unlock()
				told = max(told, n)
			}
			c := Copy{To: d, From: bytesSource(t, b, 0), Blank: tt.blank, Tell: tell}
			n, err := c.Run(t.Context())
			if err == nil {
				err = c.Finish(t.Context(), n)
			}
			if err != nil || n != int64(len(b)) || told != n {
				t.Fatalf("%d of %d bytes, told of %d, error %v", n, len(b), told, err)
			}
			if err := holds(d.durable, b); err != nil {
				t.Error(err)
			}
		})
	}
	d := newDevice(t, 4*image.Window, 0)
	if _, err := (Copy{To: d, From: bytesSource(t, b, 0), Blank: true}).Run(t.Context()); err == nil || d.writes != 0 {
		t.Errorf("too small a volume: error %v, %d writes", err, d.writes)
	}
}

// TestCopyAllocates sees that zeros aren't written where there are some.
func TestCopyAllocates(t *testing.T) {
	b := make([]byte, 20*image.Window)
	b[10*image.Window] = 1
	for _, blank := range []bool{true, false} {
		d := newDevice(t, int64(len(b)), 0)
		if _, err := (Copy{To: d, From: bytesSource(t, b, 0), Blank: blank}).Run(t.Context()); err != nil || d.writes != 1 {
			t.Errorf("blank %v: %d writes, error %v", blank, d.writes, err)
		}
	}
}

// TestCopyPowerCuts cuts power at every write, and goes on with what was
// saved, until it is done.
func TestCopyPowerCuts(t *testing.T) {
	b := disk()
	for _, blank := range []bool{true, false} {
		for cut := range 9 {
			fill := byte(0xa5)
			if blank {
				fill = 0
			}
			d := newDevice(t, 6*image.Window, fill)
			d.left = cut
			saved := int64(0)
			save := func(_ context.Context, n int64) error {
				if n < saved || n%image.Window != 0 {
					t.Errorf("saved %d after %d", n, saved)
				}
				saved = n
				return nil
			}
			for runs := 0; ; runs++ {
				c := Copy{To: d, From: bytesSource(t, b, saved), Start: saved, Blank: blank, Save: save}
				n, err := c.Run(t.Context())
				if err == nil {
					err = c.Finish(t.Context(), n)
				}
				if err == nil {
					break
				}
				if !errors.Is(err, errPower) || runs > 3 {
					t.Fatalf("blank %v, cut %d: error %v", blank, cut, err)
				}
				d.restart()
			}
			if err := holds(d.durable, b); err != nil {
				t.Errorf("blank %v, cut %d: %v", blank, cut, err)
			}
		}
	}
}

func TestCopyEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := newDevice(t, 6*image.Window, 0)
	c := Copy{To: d, From: bytesSource(t, disk(), 0), Blank: true, Tell: func(int64) { cancel() }}
	if _, err := c.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	broken := errors.New("the cable is out")
	c = Copy{To: d, From: image.FromSequence(brokenReader{broken}, -1, 0), Blank: true}
	if _, err := c.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("broken source: error %v", err)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }
