package aio

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// One goroutine starts much at a time, beside others that wait for theirs.
func TestStart(t *testing.T) {
	const each, rounds, unit = 24, 40, 8192
	disk := newDisk(t, 4*each*unit)
	f := mustOpen(t, disk, nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			base := int64(g * each * unit)
			model, got := aligned(each*unit), aligned(each*unit)
			r := rand.New(rand.NewPCG(2, uint64(g)))
			for range rounds {
				done := make(chan error, 2*each)
				begun := 0
				for n := range each {
					if r.IntN(3) > 0 {
						continue
					}
					p := model[n*unit : (n+1)*unit]
					for i := range p {
						p[i] = byte(r.Uint32())
					}
					if f.StartWrite(p, base+int64(n*unit), func(err error) { done <- err }) {
						begun++
					} else if _, err := f.WriteAt(p, base+int64(n*unit)); err != nil {
						t.Error(err)
					}
				}
				f.Submit()
				for range begun {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				clear(got)
				begun = 0
				for n := range each {
					if f.StartRead(got[n*unit:(n+1)*unit], base+int64(n*unit), func(err error) { done <- err }) {
						begun++
					} else if _, err := f.ReadAt(got[n*unit:(n+1)*unit], base+int64(n*unit)); err != nil {
						t.Error(err)
					}
				}
				f.Submit()
				for range begun {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				if !bytes.Equal(got, model) {
					t.Errorf("goroutine %d reads other bytes than it wrote", g)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What the kernel says, doesn't finish, or refuses.
func TestStartResults(t *testing.T) {
	const size = 8192
	for _, tt := range []struct {
		name string
		k    *fakeKernel
		want error // nil: all is moved
	}{
		{"all", &fakeKernel{at: func(*controlBlock) int64 { return size }}, nil},
		{"a part", &fakeKernel{at: func(*controlBlock) int64 { return 4096 }}, nil},
		{"again", &fakeKernel{at: func(*controlBlock) int64 { return -int64(unix.EAGAIN) }}, nil},
		{"I/O error", &fakeKernel{at: func(*controlBlock) int64 { return -int64(unix.EIO) }}, unix.EIO},
		{"refused", &fakeKernel{refusal: unix.EAGAIN}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := newDisk(t, size)
			f := mustOpen(t, disk, tt.k)
			p := aligned(size)
			for i := range p {
				p[i] = 1
			}
			done := make(chan error, 1)
			if !f.StartWrite(p, 0, func(err error) { done <- err }) {
				t.Fatal("not started")
			}
			f.Submit()
			if err := <-done; !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if _, err := disk.ReadAt(p, 0); err != nil {
				t.Fatal(err)
			}
			if tt.name != "all" && p[size-1] != 1 {
				t.Error("what was left was not written")
			}
		})
	}
}

// There is no more than the kernel takes, and nothing without a kernel.
func TestStartLimit(t *testing.T) {
	f := mustOpen(t, newDisk(t, 4096), nil)
	done := make(chan error, Limit)
	p := aligned(4096)
	for n := range Limit {
		if !f.StartRead(p, 0, func(err error) { done <- err }) {
			t.Fatalf("read %d was not started", n)
		}
	}
	if f.StartRead(p, 0, func(error) {}) {
		t.Error("one more was started")
	}
	f.Submit()
	for range Limit {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	none := newFile(newDisk(t, 4096), func(int) (kernel, error) { return nil, unix.ENOSYS })
	if none.StartRead(p, 0, func(error) {}) || none.StartWrite(p, 0, func(error) {}) {
		t.Error("something was started without a kernel")
	}
	none.Submit()
}
