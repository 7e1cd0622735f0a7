package box

import (
	"errors"
	"fmt"
	"sync/atomic"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/status"
	"sanstick/target/block"
	"sanstick/target/block/blkdev"
	"sanstick/target/scsi"
)

// opened is an open volume.
type opened struct {
	device block.Device
	scsi   *scsi.Unit
	info   status.LUN               // without its number
	users  int                      // targets that serve it
	at     atomic.Pointer[volumeID] // which volume it is, by its name of today
}

// where tells which volume, or snapshot, the configuration means by a name.
func (s *storage) where(name string) volumeID {
	return volumeID{poolIn(s.box.settings().config)(name), name}
}

// volume finds an active volume, or a snapshot. One of which it isn't known who has
// reserved it is none.
func (s *storage) volume(id volumeID) (pool.Export, error) {
	v, err := s.find(id.pool, id.name)
	if err != nil {
		return v, err
	}
	return v, s.box.reservations.check(id.pool, naa(scsi.NAAFromUUID(v.Identity)))
}

// open opens a volume, or a snapshot, as a logical unit, or gives it one more
// user. The unit's identity comes from the logical volume's UUID, so that it is
// the same for life.
func (s *storage) open(id volumeID) (*opened, error) {
	if v, ok := s.volumes[id]; ok {
		v.users++
		return v, nil
	}
	x, err := s.volume(id)
	if err != nil {
		return nil, err
	}
	v := &opened{users: 1}
	v.at.Store(&id)
	// A thin volume of dm-thin reads zeros where nothing was written.
	v.device, err = s.device(x.Path, blkdev.Options{ReadsZero: x.Thin, LogicalBlock: x.Block, ReadOnly: x.ReadOnly, Limit: s.limit(x)})
	if err != nil {
		return nil, err
	}
	naa := scsi.NAAFromUUID(x.Identity)
	identity := scsi.Identity{Vendor: "SANSTICK", Product: "VOLUME", Revision: "1", Serial: scsi.SerialFromUUID(x.Identity), NAA: naa}
	v.info = status.LUN{Pool: id.pool, Volume: id.name, NAA: fmt.Sprintf("naa.%x", naa), Serial: identity.Serial, Size: x.Size, ReadOnly: x.ReadOnly}
	o := scsi.UnitOptions{
		Identity: identity, Thin: x.Thin && !x.ReadOnly, ReadOnly: x.ReadOnly,
		State: s.box.reservations.store(id.pool, naa),
	}
	if o.Thin {
		o.Space = s.spaceOf(v)
	}
	if v.scsi, err = scsi.NewUnit(v.device, o); err != nil {
		return nil, errors.Join(err, v.device.Close())
	}
	s.space.add(id, v.scsi)
	s.volumes[id] = v
	return v, nil
}

// limit is how much of a volume may be used: a thick one that grows is cleared first.
func (s *storage) limit(v pool.Export) func() int64 {
	if v.Thin {
		return nil
	}
	var last atomic.Int64
	last.Store(v.Size)
	return func() int64 {
		if n, known := s.box.pools.Usable(v.Identity); known {
			last.Store(n)
		}
		return last.Load()
	}
}

// release takes a user from an open volume, and closes it after the last one:
// no command runs afterwards, and all that was written is on the disks.
func (s *storage) release(id volumeID) {
	v := s.volumes[id]
	if v.users--; v.users > 0 {
		return
	}
	delete(s.volumes, id)
	s.space.remove(id)
	if err := errors.Join(v.scsi.Close(), v.device.Flush(), v.device.Close()); err != nil {
		s.log.Error("Cannot close volume", "volume", id, "error", err)
	}
}
