package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Disks that come, go and fail while the machine runs. A disk is named by its serial number.
//
// Each disk is a block node, which stays when the disk is unplugged, and a device on top of it. Between the two a filter
// may be put that makes requests fail (blkdebug), or slow, or hang (throttle).

// A Fault is what is wrong with a disk. The zero value is a good disk.
type Fault struct {
	Reads, Writes, Flushes bool // these end with EIO
	Sector                 int  // only those that touch this sector, of 512 bytes; 0: all
	Hangs                  bool // no request ends, until the disk is mended
	IOPS, Bytes            int  // in a second at most; 0: no limit
}

// slot is a disk that the machine has or had.
type slot struct {
	node   string // the block node
	device string // the device; empty while the disk is unplugged
	filter string // the node between both; empty if there is none
}

// slots registers the disks that the machine starts with, the stick among them. One without a serial number can't be named
// later.
func slots(o Options) map[string]*slot {
	m := make(map[string]*slot)
	if o.Stick != "" && !o.Snapshot {
		m[StickSerial] = &slot{node: stickID, device: "dev-" + stickID}
	}
	for i, d := range o.Disks {
		if d.Serial != "" {
			m[d.Serial] = &slot{node: diskID(i), device: "dev-" + diskID(i)}
		}
	}
	return m
}

func diskID(i int) string { return "disk" + strconv.Itoa(i) }

// blockNode describes a raw image, for -blockdev and for blockdev-add.
func blockNode(id, path string) map[string]any {
	return map[string]any{"driver": "raw", "node-name": id, "discard": "unmap",
		"file": map[string]any{"driver": "file", "filename": path, "discard": "unmap"}}
}

// Unplug takes a disk away from the running machine, like a person who pulls it: what it hasn't been asked to write is not
// on it. Only disks on the buses SCSI and USB can be unplugged.
func (vm *VM) Unplug(ctx context.Context, serial string) error {
	vm.plugging.Lock()
	defer vm.plugging.Unlock()
	s, err := vm.slot(serial)
	if err != nil {
		return err
	}
	if _, err := vm.QMP(ctx, "device_del", map[string]any{"id": s.device}); err != nil {
		return fmt.Errorf("cannot unplug disk %s: %w", serial, err)
	}
	if err := vm.awaitGone(ctx, s.device); err != nil {
		return fmt.Errorf("cannot unplug disk %s: %w", serial, err)
	}
	s.device = ""
	return vm.removeFilter(ctx, s)
}

// awaitGone waits until a device is no part of the machine any more.
func (vm *VM) awaitGone(ctx context.Context, device string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		reply, err := vm.QMP(ctx, "qom-list", map[string]any{"path": "/machine/peripheral"})
		if err != nil {
			return err
		}
		var devices []struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(reply, &devices); err != nil {
			return err
		}
		gone := true
		for _, d := range devices {
			gone = gone && d.Name != device
		}
		if gone {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Plug connects a disk to the running machine: one that was unplugged before (then only its serial number matters), or a
// new one. Its bus must be SCSI or USB.
func (vm *VM) Plug(ctx context.Context, d Disk) error {
	vm.plugging.Lock()
	defer vm.plugging.Unlock()
	vm.plugged++
	s := vm.slots[d.Serial]
	if s == nil {
		s = &slot{node: diskID(vm.plugged)}
		if _, err := vm.QMP(ctx, "blockdev-add", blockNode(s.node, d.Path)); err != nil {
			return fmt.Errorf("cannot plug disk %s: %w", d.Serial, err)
		}
		vm.slots[d.Serial] = s
	}
	if s.device != "" {
		return fmt.Errorf("cannot plug disk %s: it is plugged already", d.Serial)
	}
	device := fmt.Sprintf("dev-%s-%d", s.node, vm.plugged)
	args := map[string]any{"id": device, "drive": s.node, "serial": d.Serial}
	switch d.Bus {
	case SCSI:
		args["driver"], args["bus"] = "scsi-hd", "scsi.0"
	case USB:
		args["driver"], args["bus"] = "usb-storage", "usb.0"
	default:
		return fmt.Errorf("cannot plug disk %s: not while the machine runs, on bus %q", d.Serial, d.Bus)
	}
	for {
		_, err := vm.QMP(ctx, "device_add", args)
		if err == nil {
			s.device = device
			return nil
		}
		// The device that was unplugged lets go of the node a moment later.
		if busy := strings.Contains(err.Error(), "in use") || strings.Contains(err.Error(), "Permission conflict"); !busy || ctx.Err() != nil {
			return fmt.Errorf("cannot plug disk %s: %w", d.Serial, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Break makes a disk fail in the way f says from now on, instead of any way it failed in before.
func (vm *VM) Break(ctx context.Context, serial string, f Fault) error {
	vm.plugging.Lock()
	defer vm.plugging.Unlock()
	s, err := vm.slot(serial)
	if err != nil {
		return err
	}
	if err := vm.breakDisk(ctx, s, f); err != nil {
		return fmt.Errorf("cannot break disk %s: %w", serial, err)
	}
	return nil
}

func (vm *VM) breakDisk(ctx context.Context, s *slot, f Fault) error {
	if s.filter != "" {
		if err := vm.setDrive(ctx, s, s.node); err != nil {
			return err
		}
		if err := vm.removeFilter(ctx, s); err != nil {
			return err
		}
	}
	if f == (Fault{}) {
		return nil
	}
	vm.plugged++
	id := fmt.Sprintf("%s-fault-%d", s.node, vm.plugged)
	node := map[string]any{"driver": "blkdebug", "node-name": id, "image": s.node, "inject-error": f.rules()}
	if limits := f.limits(); len(limits) > 0 {
		if len(f.rules()) > 0 {
			return fmt.Errorf("a disk that is both slow and broken isn't implemented")
		}
		group := map[string]any{"qom-type": "throttle-group", "id": id + "-group", "limits": limits}
		if _, err := vm.QMP(ctx, "object-add", group); err != nil {
			return err
		}
		node = map[string]any{"driver": "throttle", "node-name": id, "throttle-group": id + "-group", "file": s.node}
	}
	if _, err := vm.QMP(ctx, "blockdev-add", node); err != nil {
		return err
	}
	s.filter = id
	return vm.setDrive(ctx, s, id)
}

// limits are what throttle is told. A disk that hangs may do so little that nothing ends.
func (f Fault) limits() map[string]any {
	limits := map[string]any{}
	if f.IOPS > 0 {
		limits["iops-total"] = f.IOPS
	}
	if f.Bytes > 0 {
		limits["bps-total"] = f.Bytes
	}
	if f.Hangs {
		limits["bps-total"] = 1
	}
	return limits
}

// rules are what blkdebug is told.
func (f Fault) rules() []any {
	rules := []any{}
	for _, r := range []struct {
		on   bool
		kind string
	}{{f.Reads, "read"}, {f.Writes, "write"}, {f.Writes, "write-zeroes"}, {f.Flushes, "flush"}} {
		if r.on {
			rule := map[string]any{"event": "none", "iotype": r.kind, "errno": 5, "immediately": true}
			if f.Sector > 0 {
				rule["sector"] = f.Sector
			}
			rules = append(rules, rule)
		}
	}
	return rules
}

// setDrive puts a device on another block node, while it is used.
func (vm *VM) setDrive(ctx context.Context, s *slot, node string) error {
	_, err := vm.QMP(ctx, "qom-set", map[string]any{"path": "/machine/peripheral/" + s.device, "property": "drive", "value": node})
	return err
}

func (vm *VM) removeFilter(ctx context.Context, s *slot) error {
	if s.filter == "" {
		return nil
	}
	// An unplugged device lets go of its node a moment later.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := vm.QMP(ctx, "blockdev-del", map[string]any{"node-name": s.filter})
		if err == nil {
			s.filter = ""
			return nil
		}
		if !strings.Contains(err.Error(), "is in use") {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// slot finds a disk that is plugged.
func (vm *VM) slot(serial string) (*slot, error) {
	if s := vm.slots[serial]; s != nil && s.device != "" {
		return s, nil
	}
	return nil, fmt.Errorf("disk %s isn't plugged", serial)
}

// Counts are what the machine has done with a disk since it was plugged in.
type Counts struct {
	Written     int64 `json:"wr_bytes"`
	FailedReads int64 `json:"failed_rd_operations"`
}

// Count tells what the machine has done with a disk that is plugged in.
func (vm *VM) Count(ctx context.Context, serial string) (Counts, error) {
	vm.plugging.Lock()
	defer vm.plugging.Unlock()
	s, err := vm.slot(serial)
	if err != nil {
		return Counts{}, err
	}
	reply, err := vm.QMP(ctx, "query-blockstats", nil)
	if err != nil {
		return Counts{}, err
	}
	var all []struct {
		Device string `json:"qdev"`
		Stats  Counts `json:"stats"`
	}
	if err := json.Unmarshal(reply, &all); err != nil {
		return Counts{}, err
	}
	for _, x := range all {
		if slices.Contains(strings.Split(x.Device, "/"), s.device) {
			return x.Stats, nil
		}
	}
	return Counts{}, fmt.Errorf("QEMU counts nothing of disk %s", serial)
}
