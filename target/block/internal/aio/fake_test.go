package aio

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeKernel takes transfers and moves nothing.
type fakeKernel struct {
	mu        sync.Mutex
	taken     []*controlBlock // without an event so far
	most      int             // of them at a time
	events    []event
	accept    int                                // of a batch, 0 is all
	refusal   error                              // of all that is submitted
	at        func(*controlBlock) (result int64) // ends transfers at once, unless nil
	destroyed bool
}

func (k *fakeKernel) setup(n int) (kernel, error) { return k, nil }

func (k *fakeKernel) submit(batch []*controlBlock) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refusal != nil {
		return 0, k.refusal
	}
	if k.accept > 0 {
		batch = batch[:min(len(batch), k.accept)]
	}
	k.taken = append(k.taken, batch...)
	k.most = max(k.most, len(k.taken))
	if k.at != nil {
		k.end(k.at)
	}
	return len(batch), nil
}

// end ends all that has been taken. k.mu is held.
func (k *fakeKernel) end(result func(*controlBlock) int64) {
	for _, c := range k.taken {
		k.events = append(k.events, event{data: c.data, result: result(c)})
		if _, err := unix.Write(int(c.resFD), []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			panic(err)
		}
	}
	k.taken = nil
}

func (k *fakeKernel) empty() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.events) == 0
}

func (k *fakeKernel) next() (event, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.events) == 0 {
		return event{}, false
	}
	e := k.events[0]
	k.events = k.events[1:]
	return e, true
}

func (k *fakeKernel) destroy() { k.destroyed = true }

// mustOpen returns a File on f that ends with the test. Unless kernel is nil it
// isn't the real one.
func mustOpen(t *testing.T, f *os.File, fake *fakeKernel) *File {
	t.Helper()
	setup := setup
	if fake != nil {
		setup = fake.setup
	}
	file, err := open(f, setup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return file
}

// notAlone makes no request look like the only one until the test ends: all go
// to the kernel's queue.
func notAlone(t *testing.T, f *File) {
	t.Helper()
	r := <-f.free
	t.Cleanup(func() { f.free <- r })
}
