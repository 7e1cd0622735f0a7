package main

import (
	"errors"
	"fmt"

	"sanstick/target"
	"sanstick/target/block"
	"sanstick/target/block/backing"
	"sanstick/target/scsi"
)

// disks is what is open, to be closed in the right order.
type disks struct {
	luns    []target.LUN
	devices []block.Device
}

// open opens the disks that were asked for. After an error, close has to be
// called all the same.
func (d *disks) open(o *options) error {
	for _, l := range o.luns {
		dev, err := backing.Open(l.path, l.device)
		if err != nil {
			return fmt.Errorf("LUN %d: %w", l.number, err)
		}
		d.devices = append(d.devices, dev)
		u, err := scsi.NewUnit(dev, scsi.UnitOptions{
			Identity: identity(o, l), ReadOnly: l.device.ReadOnly, Removable: l.removable, Thin: l.thin,
		})
		if err != nil {
			return fmt.Errorf("LUN %d: %w", l.number, err)
		}
		d.luns = append(d.luns, target.LUN{Number: l.number, Unit: u})
	}
	return nil
}

// identity gives a unit a name that stays the same from run to run.
func identity(o *options, l lun) scsi.Identity {
	serial := o.serial
	switch {
	case serial == "":
		serial = scsi.SerialFromUUID(hostSerial(o, l))
	case len(o.luns) > 1:
		serial = fmt.Sprintf("%s-%d", serial, l.number)
	}
	return scsi.Identity{Serial: serial, NAA: scsi.NAAFromUUID(serial)}
}

// close waits for the units, flushes the devices and closes them.
func (d *disks) close() error {
	var errs []error
	for _, l := range d.luns {
		errs = append(errs, l.Unit.Close())
	}
	for _, dev := range d.devices {
		if err := dev.Flush(); err != nil {
			errs = append(errs, fmt.Errorf("cannot flush: %w", err))
		}
		errs = append(errs, dev.Close())
	}
	return errors.Join(errs...)
}
