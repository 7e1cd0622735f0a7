package lvm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sanstick/appliance/sys"
)

// A Device is an active device-mapper device with its status. Devices of
// other types have neither Raid nor ThinPool nor Thin.
type Device struct {
	Name     string // "tank-golden"; see DeviceName
	Size     int64  // bytes
	Type     string // of its first target: "raid", "thin-pool", "thin", "linear", ...
	Raid     *Raid
	ThinPool *ThinPool
	Thin     *Thin
}

// Raid is the status of a dm-raid target
// (Documentation/admin-guide/device-mapper/dm-raid.rst). Legs is the only
// truthful sign of redundancy.
type Raid struct {
	Legs       string // one letter each: A in sync, a not yet, D dead
	Synced     int64  // of Total
	Total      int64
	Action     string // "idle", "resync", "recover", "check", "repair", ...
	Mismatches int64
}

// Redundant tells whether all legs are in sync.
func (r Raid) Redundant() bool { return r.Legs != "" && strings.Trim(r.Legs, "A") == "" }

// ThinPool is the status of a thin pool
// (Documentation/admin-guide/device-mapper/thin-provisioning.rst).
type ThinPool struct {
	Failed                      bool
	UsedMetadata, TotalMetadata int64 // blocks of 4 KiB
	UsedChunks, TotalChunks     int64
	ReadOnly, OutOfSpace        bool
	NeedsCheck                  bool
	Reserved                    bool // a copy of the metadata: see ReserveMetadata
}

// Thin is the status of a thin volume.
type Thin struct {
	Failed bool
	Mapped int64 // bytes of the pool it takes
}

// Devices lists all active device-mapper devices. It asks the kernel only and
// reads no disk.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	out, err := c.targets(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("cannot read device-mapper's status: %w", err)
	}
	return ParseStatus(out)
}

// targets asks about all devices.
func (c *Client) targets(ctx context.Context, table bool) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, statusLimit, fmt.Errorf("it didn't answer within %v", statusLimit))
	defer cancel()
	switch {
	case c.Mapper != nil:
		return c.Mapper.Targets(ctx, table)
	case table:
		out, err := c.dmsetup(ctx, "table")
		return string(out), err
	}
	out, err := c.dmsetup(ctx, "status", "--noflush")
	return string(out), err
}

// dmsetup asks about all devices. One that goes while they are listed makes it
// fail; then it is asked again.
func (c *Client) dmsetup(ctx context.Context, args ...string) (out []byte, err error) {
	for range 5 {
		out, err = c.run(ctx, statusLimit, orDefault(c.DMSetup, "/sbin/dmsetup"), args)
		var exit *sys.ExitError
		if err == nil || !errors.As(err, &exit) ||
			!strings.Contains(exit.Stderr, "Device does not exist") && !strings.Contains(exit.Stderr, "No such device or address") {
			return out, err
		}
	}
	return out, err
}

// Below tells what each active linear device lies on: numbers of devices, "8:16".
// They say which disk is really used, which may have gone while another one, or
// the same, has come under a new number. It asks the kernel only.
func (c *Client) Below(ctx context.Context) (map[string][]string, error) {
	out, err := c.targets(ctx, true)
	if err != nil {
		return nil, fmt.Errorf("cannot read device-mapper's tables: %w", err)
	}
	return parseBelow(out), nil
}

// parseBelow decodes the output of "dmsetup table":
//
//	tank-thinpool_tdata_rimage_0: 0 655360 linear 8:64 10240
func parseBelow(out string) map[string][]string {
	below := map[string][]string{}
	for line := range strings.Lines(out) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ": ")
		f := strings.Fields(rest)
		if ok && len(f) == 5 && f[2] == "linear" {
			below[name] = append(below[name], f[3])
		}
	}
	return below
}

// DeviceName is the device-mapper name of a logical volume: hyphens within
// the names are doubled.
func DeviceName(group, volume string) string {
	return strings.ReplaceAll(group, "-", "--") + "-" + strings.ReplaceAll(volume, "-", "--")
}

// ParseStatus decodes the output of "dmsetup status", one target a line:
//
//	tank-thinpool_tdata: 0 327680 raid raid1 2 AA 327680/327680 idle 0 0 -
//	tank-thinpool-tpool: 0 327680 thin-pool 1 216/2048 320/2560 - rw discard_passdown queue_if_no_space - 512
//	tank-golden: 0 204800 thin 40960 40959
func ParseStatus(out string) ([]Device, error) {
	var devices []Device
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line == "" || line == "No devices found" {
			continue
		}
		name, rest, ok := strings.Cut(line, ": ")
		f := strings.Fields(rest)
		if !ok && strings.HasSuffix(line, ":") {
			continue // a device without a table yet
		}
		if !ok || len(f) < 3 {
			return nil, fmt.Errorf("cannot parse device-mapper's status %q", line)
		}
		length, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || length < 0 {
			return nil, fmt.Errorf("cannot parse device-mapper's status %q: length", line)
		}
		if n := len(devices); n > 0 && devices[n-1].Name == name {
			devices[n-1].Size += length * 512 // a further target of the same device
			continue
		}
		d := Device{Name: name, Size: length * 512, Type: f[2]}
		if err := d.parse(f[3:]); err != nil {
			return nil, fmt.Errorf("cannot parse device-mapper's status %q: %w", line, err)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func (d *Device) parse(f []string) error {
	var err error
	switch d.Type {
	case "raid":
		if len(f) < 5 {
			return errors.New("too short")
		}
		d.Raid = &Raid{Legs: f[2], Action: f[4]}
		if len(f) > 5 {
			d.Raid.Mismatches, err = strconv.ParseInt(f[5], 10, 64)
		}
		if err == nil {
			d.Raid.Synced, d.Raid.Total, err = fraction(f[3])
		}
	case "thin-pool":
		p := &ThinPool{}
		d.ThinPool = p
		if len(f) > 0 && (f[0] == "Fail" || f[0] == "Error") {
			p.Failed = true
			return nil
		}
		if len(f) < 5 {
			return errors.New("too short")
		}
		p.UsedMetadata, p.TotalMetadata, err = fraction(f[1])
		if err == nil {
			p.UsedChunks, p.TotalChunks, err = fraction(f[2])
		}
		p.Reserved = f[3] != "-"
		p.ReadOnly, p.OutOfSpace = f[4] == "ro", f[4] == "out_of_data_space"
		for _, w := range f[5:] {
			p.NeedsCheck = p.NeedsCheck || w == "needs_check"
		}
	case "thin":
		d.Thin = &Thin{}
		if len(f) > 0 && (f[0] == "Fail" || f[0] == "Error") {
			d.Thin.Failed = true
			return nil
		}
		if len(f) < 1 {
			return errors.New("too short")
		}
		d.Thin.Mapped, err = strconv.ParseInt(f[0], 10, 64)
		d.Thin.Mapped *= 512
	}
	return err
}

// fraction parses "used/total".
func fraction(s string) (part, whole int64, err error) {
	a, b, ok := strings.Cut(s, "/")
	if !ok {
		return 0, 0, fmt.Errorf("%q is no fraction", s)
	}
	if part, err = strconv.ParseInt(a, 10, 64); err != nil {
		return 0, 0, err
	}
	whole, err = strconv.ParseInt(b, 10, 64)
	return part, whole, err
}
