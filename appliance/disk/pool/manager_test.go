package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sanstick/appliance/status"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// events is a source of uevents that a test feeds.
type events struct{ c chan sys.Uevent }

func (e *events) Receive(ctx context.Context) (sys.Uevent, error) {
	select {
	case u := <-e.c:
		return u, nil
	case <-ctx.Done():
		return sys.Uevent{}, ctx.Err()
	}
}

func (e *events) Close() error { return nil }

func (w *world) manager(change func(*Options)) (*Manager, *events) {
	e := &events{c: make(chan sys.Uevent)}
	o := Options{
		Runner:   &systest.Runner{Handle: w.handle},
		Uevents:  func() (sys.UeventSource, error) { return e, nil },
		Sysfs:    w.sysfs,
		Open:     w.open,
		Patience: 50 * time.Millisecond,
		Quiet:    20 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	return New(o), e
}

// commands are those that have run, without such as MarkUse runs.
func (w *world) commands() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, c := range w.log {
		if !strings.Contains(c, usedTag) {
			all = append(all, c)
		}
	}
	w.log = nil
	return all
}

var tank = []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "golden", Size: 64 << 20}}}}

func TestCreate(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, "abc")
	m, _ := w.manager(nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/sbin/lvm pvcreate --bootloaderareasize 2m /dev/vda /dev/vdb",
		"/sbin/lvm vgcreate --addtag sanstick --addtag sanstick.creating tank /dev/vda /dev/vdb",
		"/sbin/lvm lvcreate --type raid1 -m 1 -l 33 -n thinpool tank",
		"/sbin/lvm lvcreate --type raid1 -m 1 -l 2 -n thinmeta tank",
		"/sbin/lvm lvconvert --yes --type thin-pool --poolmetadata thinmeta --chunksize 65536b --poolmetadataspare n --zero y --errorwhenfull n tank/thinpool",
		"/sbin/lvm vgchange --addtag '' --addtag '' --deltag sanstick.creating tank",
		"/sbin/lvm lvcreate --type thin -V 67108864b --thinpool thinpool -n golden tank",
	}
	want[5] = "/sbin/lvm vgchange --addtag sanstick.disk.pv-a.A --addtag sanstick.disk.pv-b.B --deltag sanstick.creating tank"
	if diff := cmp.Diff(want, w.commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	for _, path := range []string{"/dev/vda", "/dev/vdb"} {
		if _, err := readStamp(w.disks[path]); !errors.Is(err, errNoStamp) {
			t.Errorf("stamp of %s: %v", path, err)
		}
		if label := string(w.disks[path].blocks[0][512:520]); label != "LABELONE" {
			t.Errorf("label of %s is %q", path, label)
		}
	}
	path, uuid, size, err := m.Volume("tank", "golden")
	if path != "/dev/mapper/tank-golden" || uuid == "" || size != 64<<20 || err != nil {
		t.Errorf("volume: %s, %s, %d, %v", path, uuid, size, err)
	}
	for _, v := range [][2]string{{"tank", "none"}, {"tank", "thinpool"}, {"other", "golden"}} {
		if _, _, _, err := m.Volume(v[0], v[1]); err == nil {
			t.Errorf("volume %v is there", v)
		}
	}
	pools, disks, problems := m.Status(t.Context())
	wantPools := []status.Pool{{Name: "tank", Layout: Mirror, Health: status.OK, Disks: []string{"A", "B"}, Sync: 100, State: "healthy", Progress: 100, Size: 212 << 20, Used: 66 << 20, Free: 146 << 20, Room: 80 << 20, Promised: 64 << 20, Metadata: 10.0 / 2048 * 100,
		Volumes: []status.Volume{{Name: "golden", UUID: uuid, Size: 64 << 20, Used: 4096, Active: true}}}}
	if diff := cmp.Diff(wantPools, pools); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
	var uses []string
	for _, d := range disks {
		uses = append(uses, d.Serial+" "+d.Use)
	}
	if diff := cmp.Diff([]string{"A pool tank", "B pool tank", "C not looked at yet"}, uses); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	if len(problems) > 0 {
		t.Errorf("problems %+v", problems)
	}

	// Once more changes nothing; with more and larger volumes only these.
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	grown := []Spec{tank[0]}
	grown[0].Volumes = []VolumeSpec{{Name: "golden", Size: 128 << 20}, {Name: "second", Size: 4 << 20}}
	if err := m.Bring(t.Context(), grown); err != nil {
		t.Fatal(err)
	}
	want = []string{
		"/sbin/lvm lvextend -L 134217728b tank/golden",
		"/sbin/lvm lvcreate --type thin -V 4194304b --thinpool thinpool -n second tank",
	}
	if diff := cmp.Diff(want, w.commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if _, _, size, err := m.Volume("tank", "golden"); size != 128<<20 || err != nil {
		t.Errorf("grown volume: %d bytes, %v", size, err)
	}

	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.Volume("tank", "golden"); err == nil {
		t.Error("a released volume is still there")
	}
}

// TestPowerCut cuts power at every single change of a creation, also in the
// middle of LVM's making of labels. The next start must finish the pool and
// touch nothing else.
func TestPowerCut(t *testing.T) {
	for _, cutLVM := range []bool{false, true} {
		for at := range 50 {
			w := newWorld(t, "abc")
			w.left, w.cutLVM = at, cutLVM
			m, _ := w.manager(nil)
			err := m.Bring(t.Context(), tank)
			if err == nil {
				if at < 10 {
					t.Errorf("only %d changes", at)
				}
				break
			}
			name := fmt.Sprintf("power cut at change %d (in the middle: %v)", at, cutLVM)
			w.restart()
			m, _ = w.manager(nil)
			if err := m.Bring(t.Context(), tank); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			pools, _, problems := m.Status(t.Context())
			if len(problems) > 0 || len(pools) != 1 || pools[0].Health != status.OK || len(pools[0].Volumes) != 1 {
				t.Errorf("%s: pools %+v, problems %+v", name, pools, problems)
			}
			if len(w.groups) != 1 || w.groups[0].Tagged(creatingTag) {
				t.Errorf("%s: groups %+v", name, w.groups)
			}
			for _, path := range []string{"/dev/vda", "/dev/vdb"} {
				if _, err := readStamp(w.disks[path]); !errors.Is(err, errNoStamp) {
					t.Errorf("%s: stamp left on %s", name, path)
				}
			}
			if n := len(w.disks["/dev/vdc"].blocks); n > 0 {
				t.Errorf("%s: %d blocks of another disk were written", name, n)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t, "ab")
	data := make([]byte, 4096)
	copy(data, "XFSB")
	w.disks["/dev/vdb"].put(data, 0)
	m, _ := w.manager(nil)
	err := m.Bring(t.Context(), append(slices.Clone(tank), Spec{Name: "other", Layout: Single, Disks: []string{"*"}}))
	if err == nil || !strings.Contains(err.Error(), "disk B isn't blank: it holds xfs filesystem") || !strings.Contains(err.Error(), "disk A is taken by pool tank") {
		t.Errorf("error = %v", err)
	}
	if c := w.commands(); len(c) > 0 {
		t.Errorf("commands %v", c)
	}
	if n := len(w.disks["/dev/vda"].blocks); n > 0 {
		t.Errorf("%d blocks of the blank disk were written", n)
	}
	pools, disks, problems := m.Status(t.Context())
	if pools[0].Health != status.Failed || !strings.Contains(pools[0].Detail, "disk B") || len(problems) != 2 || disks[1].Use != "xfs filesystem" || disks[0].Use != "blank" {
		t.Errorf("pools %+v, disks %+v, problems %+v", pools, disks, problems)
	}
}

func TestMissingDisk(t *testing.T) {
	w := newWorld(t, "ab")
	m, _ := w.manager(nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.unplug("b")
	m, _ = w.manager(nil)
	start := time.Now()
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("gave up after %v", d)
	}
	if diff := cmp.Diff([]string{"/sbin/lvm vgchange -ay --activationmode partial tank"}, w.commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if _, _, _, err := m.Volume("tank", "golden"); err != nil {
		t.Error(err)
	}
	pools, _, problems := m.Status(t.Context())
	p := pools[0]
	if p.Health != status.Degraded || !strings.Contains(p.Detail, "disk B is missing") || p.Sync != 0 || len(problems) != 1 {
		t.Errorf("pool %+v, problems %+v", p, problems)
	}
	if diff := cmp.Diff([][]string{{"A"}, {"B"}}, [][]string{p.Disks, p.Missing}); diff != "" {
		t.Errorf("disks, missing (-want +got):\n%s", diff)
	}
}

// TestLateDisk: a disk that turns up while Bring waits ends the wait at once.
func TestLateDisk(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, "a")
	m, e := w.manager(func(o *Options) { o.Patience = time.Minute })
	done := make(chan error)
	go func() { done <- m.Bring(t.Context(), tank) }()
	e.c <- sys.Uevent{Action: "add", Subsystem: "block", DevPath: "/devices/virtual/block/dm-3"} // of no interest
	w.plug("b")
	e.c <- sys.Uevent{Action: "add", Subsystem: "block", DevPath: "/devices/x/block/vdb"}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, _, err := m.Volume("tank", "golden"); err != nil {
		t.Error(err)
	}
}

func TestBringCancelled(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, "a")
	m, _ := w.manager(func(o *Options) { o.Patience = time.Minute })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := m.Bring(ctx, tank); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
}

// TestWatch: a pool that couldn't be used comes up when its disk does.
func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t, "ac")
	changed := make(chan struct{}, 10)
	m, e := w.manager(func(o *Options) { o.Changed = func() { changed <- struct{}{} } })
	if err := m.Bring(t.Context(), tank); err == nil {
		t.Error("no error, though a disk isn't there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Watch().Run(ctx) }()
	w.plug("b")
	e.c <- sys.Uevent{Action: "add", Subsystem: "block", DevPath: "/devices/x/block/vdb"}
	<-changed
	for range 10 { // Watch may have looked once before the disk came
		if _, _, _, err := m.Volume("tank", "golden"); err == nil {
			break
		}
		<-changed
	}
	if _, _, _, err := m.Volume("tank", "golden"); err != nil {
		t.Error(err)
	}
	_, disks, problems := m.Status(t.Context())
	if disks[2].Use != "blank" || len(problems) > 0 {
		t.Errorf("disks %+v, problems %+v", disks, problems)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzStamp(f *testing.F) {
	b, err := Stamp{Pool: "tank", Disk: "SER-a"}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(make([]byte, stampSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeStamp(b)
		if err != nil {
			return
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeStamp(again); err != nil || back != s {
			t.Errorf("%+v came back as %+v, %v", s, back, err)
		}
	})
}
