package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"sanstick/target"
	"sanstick/target/statefile"
)

// daemon is what is served now.
type daemon struct {
	srv     *target.Server
	log     *slog.Logger
	disks   map[string]*disk      // open, by lun.disk
	targets map[string]targetSpec // by name in lower case
	state   *statefile.Dir        // nil = no state is kept
}

// wanted returns the disks of a setup by lun.disk.
func (s *setup) wanted() map[string]lun {
	m := make(map[string]lun)
	for _, t := range s.targets {
		for _, l := range t.luns {
			m[l.disk()] = l
		}
	}
	return m
}

// apply serves what s says instead of what is served now. Sessions go on,
// except those with a target that is no more, and those of initiators that may
// not log in any more.
//
// First the new disks are opened. If that fails, or a disk can't be what it
// should be, nothing is changed. After that, an error means that a part of s is
// not served; the rest is.
func (d *daemon) apply(s *setup) error {
	want := s.wanted()
	again, err := d.openNew(want)
	if err != nil {
		return err
	}
	next := make(map[string]targetSpec)
	for _, t := range s.targets {
		next[strings.ToLower(t.iqn)] = t
	}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	// What is no more, or has to be opened again, goes first.
	note(d.removeAllBut(next))
	for _, name := range slices.Sorted(maps.Keys(d.targets)) {
		t := next[name]
		keep := slices.DeleteFunc(slices.Clone(t.luns), func(l lun) bool {
			return again[l.disk()] || !d.targets[name].has(l)
		})
		note(d.srv.Update(t.config(d.units(keep))))
	}
	for _, key := range slices.Sorted(maps.Keys(d.disks)) {
		if l, stays := want[key]; !stays || again[key] {
			note(d.disks[key].close())
			delete(d.disks, key)
			if stays {
				note(d.open(l))
			}
		} else {
			note(d.disks[key].change(l))
		}
	}
	for _, t := range s.targets {
		name := strings.ToLower(t.iqn)
		c := t.config(d.units(t.luns))
		if _, have := d.targets[name]; have {
			err = d.srv.Update(c)
		} else {
			err = d.srv.Add(c)
		}
		if note(err); err == nil {
			d.targets[name] = t
		}
	}
	return errors.Join(errs...)
}

// removeAllBut takes away the targets that are in none of next, all at once: the
// initiators have time to leave.
func (d *daemon) removeAllBut(next map[string]targetSpec) error {
	var gone []string
	for name := range d.targets {
		if _, stays := next[name]; !stays {
			gone = append(gone, name)
			delete(d.targets, name)
			d.log.Info("target removed", "target", name)
		}
	}
	return d.srv.Remove(gone...)
}

// has tells whether the target has the same disk under the same number.
func (t targetSpec) has(l lun) bool {
	return slices.ContainsFunc(t.luns, func(o lun) bool { return o.number == l.number && o.disk() == l.disk() })
}

// openNew opens the disks that are not open yet, and says which ones have to
// be closed and opened again. If there is an error, nothing has changed.
func (d *daemon) openNew(want map[string]lun) (again map[string]bool, err error) {
	again = make(map[string]bool)
	var opened []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		var live bool
		if have := d.disks[key]; have == nil {
			opened = append(opened, key)
			err = d.open(want[key])
		} else if live, err = have.becomes(want[key]); err == nil && !live {
			again[key] = true
		}
		if err == nil {
			continue
		}
		for _, key := range opened {
			if disk := d.disks[key]; disk != nil {
				err = errors.Join(err, disk.close())
				delete(d.disks, key)
			}
		}
		return nil, err
	}
	return again, nil
}

func (d *daemon) open(l lun) error {
	disk, err := openDisk(l, d.state)
	if err != nil {
		return fmt.Errorf("LUN %d: %w", l.number, err)
	}
	d.disks[l.disk()] = disk
	return nil
}

// units returns those LUNs whose disks are open.
func (d *daemon) units(luns []lun) (units []target.LUN) {
	for _, l := range luns {
		if disk := d.disks[l.disk()]; disk != nil {
			units = append(units, target.LUN{Number: l.number, Unit: disk.unit})
		}
	}
	return units
}

// close closes all disks, after Serve has returned.
func (d *daemon) close() error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(d.disks)) {
		errs = append(errs, d.disks[key].close())
	}
	return errors.Join(errs...)
}
