package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
	"sanstick/target/scsi"
)

// reservationPeriod is how often is looked whether the stick has what it should.
const reservationPeriod = 5 * time.Second

// stickPause is how long a stick that couldn't be written to is left alone.
const stickPause = time.Minute

// tend brings a stick in line that was away, and looks again at pools in doubt,
// until ctx ends.
func (r *reservations) tend(ctx context.Context) error {
	tick := time.NewTicker(reservationPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.look()
		}
	}
}

func (r *reservations) look() {
	r.prune()
	r.catchUp()
	r.mu.Lock()
	var doubted []string
	for in := range r.doubts {
		if !r.sure[in] {
			doubted = append(doubted, in)
		}
	}
	r.mu.Unlock()
	for _, in := range doubted {
		_ = r.checkPool(in) // it says itself what changes
	}
}

// catchUp writes what is known to a stick that has something else.
func (r *reservations) catchUp() {
	if r.dir == "" {
		return
	}
	r.saving.Lock()
	defer r.saving.Unlock()
	b, err := r.file()
	if err != nil || b == nil && r.stickError() == nil {
		return
	}
	if b == nil {
		if b, err = encodeReserved(map[naa]reserved{}); err != nil {
			return
		}
	}
	if has, err := readBounded(r.path()); err == nil && bytes.Equal(has, b) {
		return
	}
	r.mu.Lock()
	wait := time.Now().Before(r.again)
	r.mu.Unlock()
	if wait {
		return
	}
	err = r.putOnStick(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.putErr = err; err != nil && !errors.Is(err, errGone) {
		r.again = time.Now().Add(stickPause)
	}
}

// mend tells whether the stick's file, which can't be read, may be replaced: what is
// known of all pools is the newest.
func (r *reservations) mend() bool {
	return !slices.ContainsFunc(r.configured(), func(in string) bool { return r.checkPool(in) != nil })
}

// pruneFrom is how many volumes there may be before those that are gone are
// forgotten.
const pruneFrom = 256

// prune forgets volumes that are gone for good, if there are many. It needs all
// pools for that.
func (r *reservations) prune() {
	r.mu.Lock()
	few := len(r.known) < pruneFrom
	r.mu.Unlock()
	if few {
		return
	}
	alive := map[naa]bool{}
	for _, in := range r.configured() {
		ids, known := r.pools.Identities(in)
		if !known {
			return
		}
		for _, id := range ids {
			alive[naa(scsi.NAAFromUUID(id))] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.known {
		if !alive[n] && !r.served[n] {
			delete(r.known, n)
		}
	}
}

// acceptedStep is above every generation that a place which isn't here can have.
const acceptedStep = 1 << 32

// accept has what is known of a pool count as the newest, because somebody says so.
// What can't be read is forgotten.
func (r *reservations) accept(in string) error {
	ids, known := r.pools.Identities(in)
	if !known {
		return fmt.Errorf("pool %s isn't here", in)
	}
	r.mu.Lock()
	why := r.doubts[in]
	if why == "" {
		r.mu.Unlock()
		return &api.Error{Message: fmt.Sprintf("the reservations of pool %s aren't in doubt", in), Do: "nothing; it is served as it is"}
	}
	for _, id := range ids {
		n := naa(scsi.NAAFromUUID(id))
		if r.served[n] {
			continue
		}
		x := r.known[n]
		if scsi.CheckState(n, x.bytes()) != nil {
			x.State = nil
		}
		x.Generation += acceptedStep
		r.known[n] = x
	}
	r.sure[in] = true
	delete(r.doubts, in)
	r.changes++
	mine := r.changes
	r.mu.Unlock()
	if err := r.kept(in, r.put(mine)); err != nil {
		r.mu.Lock()
		delete(r.sure, in)
		r.doubts[in] = why
		r.mu.Unlock()
		return fmt.Errorf("cannot write that down: %w", err)
	}
	r.log.Warn("Reservations were accepted as they are known", "pool", in, "was", why)
	r.changed()
	return nil
}

// problems says what a person should know.
func (r *reservations) problems() (all []status.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for in, why := range r.doubts {
		all = append(all, status.Problem{
			Health: status.Failed, What: fmt.Sprintf("volumes of pool %s aren't served: %s", in, why),
			Do: "connect what is missing; or make sure that no more than one host uses each volume, then: sanctl pool reservations " + in,
		})
	}
	if r.stickErr != nil && len(all) == 0 {
		all = append(all, status.Problem{
			Health: status.Degraded, What: "the reservations on the stick can't be read: " + r.stickErr.Error(),
			Do: "they are replaced by what the disks keep, as soon as all pools are here",
		})
	}
	err := r.putErr
	quiet := errors.Is(err, errInMemory) || errors.Is(err, errGone) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, fs.ErrNotExist)
	if err != nil && !quiet && r.stickErr == nil && r.dir != "" {
		all = append(all, status.Problem{
			Health: status.Degraded, What: "the stick lacks the newest reservations: " + err.Error(), Do: "see what is said of the stick; the disks have them",
		})
	}
	slices.SortFunc(all, func(a, b status.Problem) int { return strings.Compare(a.What, b.What) })
	return all
}

func (b *box) acceptReservations(_ context.Context, q api.AcceptReservationsRequest, _ func(api.Progress)) (a api.AcceptReservationsAnswer, err error) {
	return a, b.reservations.accept(q.Pool)
}
