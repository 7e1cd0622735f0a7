package writelog

import "fmt"

// Disk is what a disk holds and may hold, as its log is gone through.
type Disk struct {
	log     *Log
	flushed []byte  // what is certain to be there
	later   []Entry // in order; each may be there, those with FUA are
	next    int     // the entry that comes next
	at      int64   // how far the log has been gone through, in bytes
	flushes int     // so far
}

// NewDisk begins with what the disk held before the first entry, which is the
// Disk's from now on.
func NewDisk(log *Log, before []byte) *Disk { return &Disk{log: log, flushed: before} }

// To goes through the log up to a size that it had once. What lies beyond was
// done later. It can't go back.
func (d *Disk) To(end int64) error {
	if end < d.at {
		return fmt.Errorf("cannot go back from byte %d of a write log to %d", d.at, end)
	}
	for d.at = end; d.next < len(d.log.Entries) && d.log.Entries[d.next].End <= end; d.next++ {
		e := d.log.Entries[d.next]
		if e.Flags&Flush != 0 {
			for _, e := range d.later {
				if err := d.apply(d.flushed, e); err != nil {
					return err
				}
			}
			d.later = d.later[:0]
			d.flushes++
		}
		if e.Len > 0 {
			d.later = append(d.later, e)
		}
	}
	return nil
}

// Flushes returns how many there were.
func (d *Disk) Flushes() int { return d.flushes }

// Unflushed returns how many entries came after the last flush.
func (d *Disk) Unflushed() int { return len(d.later) }

// Image returns what is on the disk after a power cut, if of the entries after
// the last flush those survive that have FUA set and those for which survives
// returns true; they count from 0. It is in buf if that is large enough.
//
//go:norace
func (d *Disk) Image(buf []byte, survives func(i int) bool) ([]byte, error) {
	image := append(buf[:0], d.flushed...)
	for i, e := range d.later {
		if e.Flags&FUA == 0 && !survives(i) {
			continue
		}
		if err := d.apply(image, e); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// apply does to an image what an entry did to the disk. What is discarded
// becomes zero.
//
//go:norace
func (d *Disk) apply(image []byte, e Entry) error {
	if e.Off > int64(len(image)) || e.Len > int64(len(image))-e.Off {
		return fmt.Errorf("cannot replay a write of bytes %d+%d to a disk of %d", e.Off, e.Len, len(image))
	}
	p := image[e.Off : e.Off+e.Len]
	if e.Data == 0 {
		clear(p)
		return nil
	}
	if _, err := d.log.r.ReadAt(p, e.Data); err != nil {
		return fmt.Errorf("cannot replay a write: %w", err)
	}
	return nil
}
