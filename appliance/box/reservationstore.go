package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"sanstick/target/scsi"
)

// store is where a volume keeps its reservations. It is nil, which initiators are
// told, if there never was a stick, and nothing that must be kept.
func (r *reservations) store(in string, n naa) scsi.Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir == "" && r.known[n].bytes() == nil {
		return nil
	}
	r.served[n] = true
	return &reservationStore{r, in, n}
}

// reservationStore implements scsi.Store.
type reservationStore struct {
	all  *reservations
	pool string
	naa  naa
}

func (s *reservationStore) Load() ([]byte, error) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	return s.all.known[s.naa].bytes(), nil
}

// Save returns when it is as safe as it can be. What was before is put back if that
// isn't safe enough.
func (s *reservationStore) Save(b []byte) error {
	r := s.all
	r.mu.Lock()
	was, any := r.known[s.naa]
	r.known[s.naa] = reserved{was.Generation + 1, bytes.Clone(b)}
	if _, err := r.encode(); err != nil {
		if r.known[s.naa] = was; !any {
			delete(r.known, s.naa)
		}
		r.mu.Unlock()
		return err
	}
	r.changes++
	mine := r.changes
	r.mu.Unlock()
	err := r.kept(s.pool, r.put(mine))
	if err == nil {
		return nil
	}
	r.mu.Lock()
	r.known[s.naa] = reserved{r.known[s.naa].Generation + 1, was.State} // which some places may have to learn
	r.mu.Unlock()
	r.copies.changed()
	r.log.Error("Cannot keep reservations", "pool", s.pool, "error", err)
	return err
}

// kept tells why a change to reservations of a pool's volume isn't safe.
func (r *reservations) kept(in string, o outcome) error {
	areas, took := r.areasOf(in), 0
	var without []string
	for _, a := range areas {
		if o.took[key(a)] {
			took++
		} else {
			without = append(without, a.Disk)
		}
	}
	switch {
	case o.stick == nil && (took > 0 || len(areas) == 0), len(areas) > 0 && took == len(areas):
		return nil
	case o.stick == nil:
		return errors.New("no disk of the pool took them")
	case len(areas) == 0:
		return fmt.Errorf("the pool's disks have no room for them, and the stick: %w", o.stick)
	}
	return fmt.Errorf("not all disks of the pool took them (not %s), and the stick: %w", strings.Join(without, ", "), o.stick)
}

// put writes everything down, if nobody did since a change. Changes that come
// meanwhile are written together afterwards.
func (r *reservations) put(change int) outcome {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	if r.last.changes >= change {
		defer r.mu.Unlock()
		return r.last
	}
	o := outcome{changes: r.changes}
	b, err := r.encode()
	r.mu.Unlock()
	if err != nil {
		o.stick = err
		return o
	}
	var both sync.WaitGroup
	both.Go(func() { o.stick = r.putOnStick(b) })
	both.Go(func() { o.took = r.copies.round(context.Background()) })
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.putErr = o, o.stick
	return o
}

// errForeignStick says that a stick is another appliance's.
var errForeignStick = errors.New("the stick that is here is another appliance's")

// errInMemory says that what was written is lost with the power.
var errInMemory = errors.New("it is in memory only")

// putOnStick replaces the stick's file, and returns when it is on stable storage.
func (r *reservations) putOnStick(b []byte) error {
	if r.dir == "" {
		return errors.New("there is none")
	}
	if id, err := r.copies.readID(); err == nil && id != "" && r.copies.foreign(id) {
		return errForeignStick // which isn't made writable for nothing
	}
	if r.stickError() != nil && !r.mend() {
		return errors.New("what is on it can't be read, and isn't replaced before all pools are here")
	}
	err := r.write(func() error {
		if err := r.copies.own(); err != nil {
			return err
		}
		return replaceFile(r.path(), b)
	})
	if err == nil {
		r.mu.Lock()
		r.stickErr = nil
		r.mu.Unlock()
	}
	if err == nil && r.memory {
		return errInMemory
	}
	return err
}
