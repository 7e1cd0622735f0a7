package main

import (
	"errors"
	"fmt"

	"sanstick/target/block"
	"sanstick/target/block/backing"
	"sanstick/target/block/memdev"
	"sanstick/target/scsi"
	"sanstick/target/statefile"
)

// disk is an open disk: one logical unit, in as many targets as want it.
type disk struct {
	spec lun // number doesn't matter
	dev  block.Device
	unit *scsi.Unit
}

// openDisk opens a disk; what initiators want to outlive a power cut is kept in
// state, which may be nil.
func openDisk(l lun, state *statefile.Dir) (*disk, error) {
	dev, err := backing.Open(l.path, l.device)
	if err != nil {
		return nil, err
	}
	o := scsi.UnitOptions{
		Identity: l.identity(), ReadOnly: l.device.ReadOnly, Removable: l.removable, Disc: l.cd, Thin: l.thin,
	}
	if state != nil {
		o.State = state.Reservations(o.Identity.NAA)
	}
	u, err := scsi.NewUnit(dev, o)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &disk{l, dev, u}, nil
}

// close waits for the commands on the unit, flushes the device and closes it.
func (d *disk) close() error {
	errs := []error{d.unit.Close()}
	if err := d.dev.Flush(); err != nil {
		errs = append(errs, fmt.Errorf("cannot flush: %w", err))
	}
	if err := errors.Join(append(errs, d.dev.Close())...); err != nil {
		return fmt.Errorf("disk %s: %w", d.spec.path, err)
	}
	return nil
}

// becomes tells whether the disk can be made what l says while it is in use.
// If it can't, it has to be closed and opened again.
func (d *disk) becomes(l lun) (live bool, err error) {
	l.number = d.spec.number
	if !d.dev.Info().ReadOnly {
		l.device.ReadOnly = d.spec.device.ReadOnly
	}
	if !d.spec.inRAM() {
		return d.spec == l, nil
	}
	have, want := d.dev.Info().Size, l.size()
	if want < have {
		return false, fmt.Errorf("disk %s can't shrink to %s", d.spec.path, l.path)
	}
	l.path = d.spec.path
	return d.spec == l, nil
}

// change makes the disk what l says, if it becomes that.
func (d *disk) change(l lun) error {
	if mem, ok := d.dev.(*memdev.Device); ok {
		if err := mem.Grow(l.size()); err != nil {
			return err
		}
	}
	if l.device.ReadOnly != d.spec.device.ReadOnly {
		if err := d.unit.SetReadOnly(l.device.ReadOnly); err != nil {
			return fmt.Errorf("disk %s: %w", l.path, err)
		}
	}
	d.spec = l
	return nil
}

// size is that of a disk in RAM, in bytes.
func (l lun) size() int64 {
	n, _ := backing.ParseSize(l.path[len(memPrefix):]) // was checked before
	return n
}
