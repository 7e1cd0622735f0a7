package box

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
	"sanstick/appliance/disk/pool"
	"sanstick/appliance/sys/systest"
	"sanstick/target/block"
	"sanstick/target/block/blkdev"
	"sanstick/target/block/memdev"
)

// twoPools is a storage in which pools fast and slow both have a volume vm1; the
// target t serves that of the pool that the configuration says. devices are those
// that are open, by path.
func twoPools(t *testing.T) (s *storage, configure func(in string) *export, devices map[string]block.Device) {
	t.Helper()
	devices = map[string]block.Device{}
	b := &box{o: &Options{ProcDir: t.TempDir()}, log: slog.New(slog.DiscardHandler), pools: pool.New(pool.Options{Runner: &systest.Runner{}})}
	b.reservations = newReservations("", nil, newCopies("", nil, nil, b.log), b.pools, b.log)
	b.reservations.sure = map[string]bool{"fast": true, "slow": true}
	configure = func(in string) *export {
		c := &config.Config{
			Volumes: []config.Volume{{Name: "vm1", Pool: in}},
			Targets: []config.Target{{Name: "t", IQN: "iqn.2006-12.test:t", Volumes: []string{"vm1"}, Initiators: []string{"*"}}},
		}
		b.inForce.Store(&settings{config: c})
		return &export{config: c.Targets[0]}
	}
	configure("slow")
	var err error
	if s, err = newStorage(b); err != nil {
		t.Fatal(err)
	}
	s.find = func(in, name string) (pool.Export, error) {
		return pool.Export{Path: in + "-" + name, Identity: in + name, Size: 1 << 20, Thin: true}, nil
	}
	s.device = func(path string, _ blkdev.Options) (block.Device, error) {
		if devices[path] != nil {
			return nil, fmt.Errorf("%s is open already", path)
		}
		mem, err := memdev.New(1<<20, memdev.Options{})
		devices[path] = &closing{mem, func() { delete(devices, path) }}
		return devices[path], err
	}
	s.export(s.targets[0])
	t.Cleanup(s.close)
	return s, configure, devices
}

// closing tells when it is closed.
type closing struct {
	*memdev.Device
	closed func()
}

func (c *closing) Close() error {
	c.closed()
	return c.Device.Close()
}

// served says what a storage serves, and what it has open.
func served(s *storage, devices map[string]block.Device) map[string]string {
	all := map[string]string{}
	for _, e := range s.targets {
		for _, u := range e.units {
			path := "closed"
			for p, d := range devices {
				if d == u.device {
					path = p
				}
			}
			all[fmt.Sprintf("%s %d", e.config.Name, u.lun.Number)] = u.id().String() + " " + path
		}
	}
	for id := range s.volumes {
		all[id.String()] = "open"
	}
	return all
}

// A volume that the configuration has in another pool is another one.
func TestChangePool(t *testing.T) {
	s, configure, devices := twoPools(t)
	now := configure("fast")
	s.change(s.targets[0], now)
	s.targets[0] = now
	want := map[string]string{"t 0": "fast/vm1 fast-vm1", "fast/vm1": "open"}
	if diff := cmp.Diff(want, served(s, devices)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(devices) != 1 {
		t.Errorf("open are %v", devices)
	}
}

// What is done to a volume isn't done to one of another pool that has its name.
func TestSameNames(t *testing.T) {
	s, _, devices := twoPools(t)
	was := served(s, devices)
	s.box.storage = s
	s.space.Refuse("slow", "vm1", true)

	s.renamed(volumeID{"fast", "vm1"}, "old")
	back := s.takeOffline(volumeID{"fast", "vm1"})
	if diff := cmp.Diff(was, served(s, devices)); diff != "" {
		t.Errorf("another pool's volume (-want +got):\n%s", diff)
	}
	if err := back(); err != nil {
		t.Error(err)
	}
	if writes(t, s.volumes[volumeID{"slow", "vm1"}].scsi) {
		t.Error("it takes writes, though its pool is full")
	}

	s.renamed(volumeID{"slow", "vm1"}, "old")
	want := map[string]string{"t 0": "slow/old slow-vm1", "slow/old": "open"}
	if diff := cmp.Diff(want, served(s, devices)); diff != "" {
		t.Errorf("renamed (-want +got):\n%s", diff)
	}
	if writes(t, s.volumes[volumeID{"slow", "old"}].scsi) {
		t.Error("it takes writes under its new name, though its pool is full")
	}
	if !s.cameLate(s.targets[0]) {
		t.Error("what the configuration names isn't served")
	}
	back = s.takeOffline(volumeID{"slow", "old"})
	if diff := cmp.Diff(map[string]string{}, served(s, devices)); diff != "" {
		t.Errorf("offline (-want +got):\n%s", diff)
	}
	if err := back(); err != nil {
		t.Error(err)
	}
	want["t 0"] = "slow/old slow-old"
	if diff := cmp.Diff(want, served(s, devices)); diff != "" {
		t.Errorf("back (-want +got):\n%s", diff)
	}
}
