package box

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/stickcopy"
	"sanstick/target/scsi"
)

// Persistent reservations that are to outlast a loss of power lie on the stick, and
// in the copies of it that the disks keep. A cluster relies on them: of two nodes
// that both believe to have a volume, both write. So each volume's have a
// generation, of which the highest found is right, and
//
//   - a change counts as kept if the stick took it and a disk of the volume's pool
//     did (if any of them has room for a copy); or if all of the pool's disks that
//     are here did;
//   - what is found counts as the newest if the stick and one of those disks can be
//     read; or if all of the pool's disks are here, can be read, and have a copy.
//
// Whatever took the last change is among what is read then. (That of disks that were
// absent at the time one is used alone is prevented by the pool's witness.) Where
// that can't be had, the pool's volumes aren't served.

// reservations keeps them. Safe for concurrent use.
type reservations struct {
	dir     string // of the stick; empty if there is none
	write   func(func() error) error
	memory  bool // the stick is in memory: nothing on it outlasts a loss of power
	copies  *copies
	pools   reservationPools
	log     *slog.Logger
	changed func() // something that wasn't served may be served now; it must not block
	// configured lists the pools of the configuration.
	configured func() []string

	saving sync.Mutex // held while a change is written everywhere; before mu

	mu       sync.Mutex
	known    map[naa]reserved
	served   map[naa]bool      // since the start: what is known of them is right
	sure     map[string]bool   // pools of which what is known is the newest
	doubts   map[string]string // pools that aren't served, and why
	stickErr error             // what the stick has can't be read, and nothing was put in its place
	putErr   error             // the stick lacks what is known
	again    time.Time         // when the stick is tried again, if it failed
	changes  int
	last     outcome
}

// reservationPools are the pools, as far as reservations need them.
type reservationPools interface {
	StickAreas() []pool.StickArea
	Missing(pool string) []string
	Identities(pool string) (all []string, known bool)
}

// outcome is what came of writing everything down.
type outcome struct {
	changes int             // how many changes it includes
	stick   error           // why it isn't on the stick
	took    map[string]bool // areas that have it
}

func (b *box) newReservations() *reservations {
	write := func(func() error) error { return errNoStick }
	if b.stick != nil {
		write = b.stick.write
	}
	r := newReservations(b.copies.dir, write, b.copies, b.pools, b.log)
	r.changed, r.memory = b.storage.poolsChanged, b.stick != nil && b.stick.memory
	r.configured = func() (all []string) {
		for _, p := range b.settings().config.Pools {
			all = append(all, p.Name)
		}
		return all
	}
	return r
}

// newReservations reads what is on the stick.
func newReservations(dir string, write func(func() error) error, c *copies, pools reservationPools, log *slog.Logger) *reservations {
	r := &reservations{
		dir: dir, write: write, copies: c, pools: pools, log: log, changed: func() {}, configured: func() []string { return nil },
		known: map[naa]reserved{}, served: map[naa]bool{}, sure: map[string]bool{}, doubts: map[string]string{},
	}
	c.learn, c.reservations = r.learn, r.file
	if dir == "" {
		return r
	}
	switch b, err := readBounded(r.path()); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		r.stickErr = err
	default:
		if all, err := decodeReserved(b); err != nil {
			r.stickErr = err
		} else {
			r.known = all
		}
	}
	if r.stickErr != nil {
		log.Error("Cannot read the reservations on the stick", "error", r.stickErr)
	}
	return r
}

func (r *reservations) path() string { return filepath.Join(r.dir, reservationsName) }

// learn takes in what a disk of a pool keeps.
func (r *reservations) learn(in string, c stickcopy.Copy) error {
	b, ok := c.Files[reservationsName]
	if !ok {
		return nil
	}
	all, err := decodeReserved(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && r.sure[in] {
		return nil // it was accepted without, or another disk had it
	}
	for n, x := range all {
		have := r.known[n]
		switch {
		case x.Generation <= have.Generation:
		case r.served[n]: // it comes from a disk that was away
			r.known[n] = reserved{x.Generation + 1, have.State}
		default:
			r.known[n] = x
		}
	}
	return err
}

// file is what the places should have, nil if nothing was ever kept.
func (r *reservations) file() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.encode()
}

// encode is file for who holds mu.
func (r *reservations) encode() ([]byte, error) {
	if len(r.known) == 0 {
		return nil, nil
	}
	b, err := encodeReserved(r.known)
	if err == nil && len(b) > maxReservations {
		err = fmt.Errorf("they take %d bytes, more than %d: %w", len(b), maxReservations, scsi.ErrStoreFull)
	}
	return b, err
}

// check tells why it isn't known what is reserved of a pool's volume; nil if it is.
func (r *reservations) check(in string, n naa) error {
	if err := r.checkPool(in); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served[n] {
		return nil
	}
	if err := scsi.CheckState(n, r.known[n].bytes()); err != nil {
		why := fmt.Sprintf("the persistent reservations of a volume, NAA %x, can't be read: %v", n, err)
		r.doubts[in] = why
		return errors.New(why)
	}
	return nil
}

// bytes are the State, nil if there is none.
func (x reserved) bytes() []byte {
	if len(x.State) == 0 {
		return nil
	}
	return x.State
}

// checkPool learns from the disks of a pool what is reserved.
func (r *reservations) checkPool(in string) error {
	r.mu.Lock()
	sure, asked := r.sure[in], r.doubts[in] != ""
	r.mu.Unlock()
	if sure {
		return nil
	}
	if !asked {
		r.copies.readAll()
	}
	why := r.doubt(in)
	r.mu.Lock()
	defer r.mu.Unlock()
	if why == "" {
		r.sure[in] = true
		if r.doubts[in] != "" {
			delete(r.doubts, in)
			r.log.Info("Reservations are known again", "pool", in)
			r.changed()
		}
		return nil
	}
	if r.doubts[in] != why {
		r.log.Error("Reservations are in doubt", "pool", in, "why", why)
	}
	r.doubts[in] = why
	return errors.New(why)
}

// doubt says why what is known of a pool may not be the newest; empty if it is.
func (r *reservations) doubt(in string) string {
	var read, copies int
	var bad []string
	areas := r.areasOf(in)
	for _, a := range areas {
		k, known := r.copies.known(a)
		if !known {
			bad = append(bad, fmt.Sprintf("disk %s can't be read", a.Disk))
			continue
		}
		if err := r.learn(in, k.copy); err != nil {
			bad = append(bad, fmt.Sprintf("those on disk %s can't be used: %v", a.Disk, err))
			continue
		}
		read++
		if k.copy.Appliance != "" {
			copies++
		} else if r.stickError() != nil {
			bad = append(bad, fmt.Sprintf("disk %s has none", a.Disk))
		}
	}
	err := r.stickError()
	if err == nil && (read > 0 || len(areas) == 0) {
		return ""
	}
	missing := r.pools.Missing(in)
	if err != nil && len(areas) > 0 && copies == len(areas) && len(missing) == 0 {
		return ""
	}
	if len(missing) > 0 {
		bad = append(bad, "disk "+strings.Join(missing, ", ")+" isn't here")
	}
	what := "it isn't known who has reserved what"
	if err != nil {
		what += ": of the reservations on the stick, " + err.Error()
	}
	if len(bad) > 0 {
		what += ": " + strings.Join(bad, "; ")
	}
	return what
}

func (r *reservations) stickError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stickErr
}

// areasOf are the places on a configured pool's disks.
func (r *reservations) areasOf(in string) []pool.StickArea {
	return slices.DeleteFunc(r.pools.StickAreas(), func(a pool.StickArea) bool { return a.Pool != in || !a.Configured })
}
