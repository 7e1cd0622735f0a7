package scsi

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sanstick/target/block/memdev"
)

// Everything that locks something, all at once: nobody waits for ever, and
// whatever is answered is one of the answers that there are.
func TestStorm(t *testing.T) {
	r := newSizedRig(t, 1<<20, memdev.Options{}, UnitOptions{Thin: true})
	names := slices.Sorted(maps.Keys(mediumCases))
	expected := []code{powerOnReset, deviceReset, modeParametersChanged, writeProtected, miscompareDuringVerify,
		sanitizeInProgress, sanitizeFailed, // it fails if the unit becomes read-only
		invalidFieldInCDB} // EXIT FAILURE MODE then
	var workers, others sync.WaitGroup
	var good atomic.Int32
	stop := make(chan struct{})
	for w := range 6 {
		n := r.newNexus(t)
		workers.Go(func() {
			defer n.Close()
			rng := rand.New(rand.NewPCG(uint64(w), 11))
			for range 1500 {
				name := names[rng.IntN(len(names))]
				c := mediumCases[name]
				if commands.find([16]byte(cdb(c.cdb))).flags&repairs != 0 && rng.IntN(20) > 0 && !r.unit.unready().failed() {
					continue // not too often: it keeps all others out
				}
				got := runOrStart(n.NewTask([8]byte{}, cdb(c.cdb)), c.out, rng.IntN(2) == 0)
				if got.Status != Good && got.Status != CheckCondition {
					t.Errorf("%s: %v", name, got.Status)
				}
				if got.Status == Good {
					good.Add(1)
				}
				if got.Status == CheckCondition && !slices.Contains(expected, code(got.Sense[12])<<8|code(got.Sense[13])) {
					t.Errorf("%s: sense %x", name, got.Sense)
				}
			}
		})
	}
	others.Go(func() {
		for readOnly := true; ; readOnly = !readOnly {
			if err := r.unit.SetReadOnly(readOnly); err != nil {
				t.Error(err)
			}
			r.dev.ResetUnit([8]byte{}, nil)
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	workers.Wait()
	if good.Load() < 100 {
		t.Errorf("only %d commands were done", good.Load())
	}
	close(stop)
	others.Wait()
	if err := r.unit.Close(); err != nil {
		t.Error(err)
	}
}
