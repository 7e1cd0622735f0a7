package pool

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// crowded is a pool that promises more than it has, with volumes of equal
// share.
func crowded(percent int64, total int64, volumes ...guarded) spaceFacts {
	return spaceFacts{at: noon, data: usage{total * percent / 100, total}, meta: usage{mib, 8 * mib}, worst: 4 * total, volumes: volumes}
}

func TestReserve(t *testing.T) {
	for _, tt := range []struct {
		size    int64
		fastest float64
		want    int64
	}{
		{300 * mib, 0, 15 * mib},
		{300 * mib, 100e6, 30 * mib},
		{10 * gib, 0, 512 * mib},
		{100 * gib, 0, gib},
		{100 * gib, 1 << 30, 2 * gib},
		{tib, 0, tib / 100},
		{10 * tib, 4 << 30, 10 * tib / 100},
	} {
		if got := reserve(tt.size, tt.fastest); got != tt.want {
			t.Errorf("of %d at %v: %d, want %d", tt.size, tt.fastest, got, tt.want)
		}
	}
}

const hundred = 100 * gib

// Initiators are told once for each level that is reached, and again only after
// there was some space in between.
func TestGuardTells(t *testing.T) {
	var s guardState
	var got []string
	for i, percent := range []int64{10, 79, 80, 81, 79, 80, 90, 96, 94, 95, 92, 91, 95, 88, 90, 86, 90, 50, 96} {
		f := crowded(percent, hundred)
		f.at = noon.Add(time.Duration(i) * time.Minute)
		if s.look(f).tell {
			got = append(got, fmt.Sprintf("%d:%d", i, percent))
		}
	}
	want := []string{"2:80", "6:90", "7:96", "12:95", "16:90", "18:96"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// What a pool can grow into counts as space; and one that has room for all that
// it promises is never low.
func TestGuardDoesNotTell(t *testing.T) {
	f := crowded(95, hundred)
	f.room = hundred
	if new(guardState).look(f).tell {
		t.Error("told, though there is room to grow")
	}
	f = crowded(100, hundred, guarded{"a", 5, hundred})
	f.worst = hundred
	if a := new(guardState).look(f); a.tell || len(a.refuse) > 0 || a.growData > 0 {
		t.Errorf("%+v, though nothing can run out", a)
	}
	f.meta = usage{90, 100}
	if a := new(guardState).look(f); !a.tell {
		t.Error("not told that the metadata gets full")
	}
}

func TestGuardGrows(t *testing.T) {
	for _, tt := range []struct {
		name       string
		f          spaceFacts
		data, meta int64
	}{
		{"half full", spaceFacts{data: usage{50, 100}, meta: usage{50, 100}, room: 100, metaRoom: 100, worst: 1000}, 0, 0},
		{"at 80 %", spaceFacts{data: usage{80, 100}, meta: usage{50, 100}, room: 100, metaRoom: 100, worst: 1000}, 14, 0},
		{"full", spaceFacts{data: usage{100, 100}, meta: usage{50, 100}, room: 100, metaRoom: 100, worst: 1000}, 42, 0},
		{"little room", spaceFacts{data: usage{100, 100}, meta: usage{100, 100}, room: 9, metaRoom: 8, worst: 1000}, 9, 8},
		{"no room", spaceFacts{data: usage{100, 100}, meta: usage{100, 100}, worst: 1000}, 0, 0},
		{"metadata", spaceFacts{data: usage{10, 100}, meta: usage{80, 100}, room: 100, metaRoom: 100, worst: 1000}, 0, 33},
		{"metadata that is broken can't be grown", spaceFacts{data: usage{10, 100}, meta: usage{100, 100}, room: 100, metaRoom: 100, worst: 1000, broken: true}, 0, 0},
		{"what is promised can be kept", spaceFacts{data: usage{10, 100}, meta: usage{10, 100}, room: 100, metaRoom: 100, worst: 150}, 50, 0},
		{"what is promised can't be kept", spaceFacts{data: usage{10, 100}, meta: usage{10, 100}, room: 100, metaRoom: 100, worst: 201}, 0, 0},
		{"all that is promised is there", spaceFacts{data: usage{90, 100}, meta: usage{10, 100}, room: 100, metaRoom: 100, worst: 100}, 0, 0},
	} {
		tt.f.at = noon
		if a := new(guardState).look(tt.f); a.growData != tt.data || a.growMeta != tt.meta {
			t.Errorf("%s: data by %d, metadata by %d; want %d, %d", tt.name, a.growData, a.growMeta, tt.data, tt.meta)
		}
	}
}

// TestGuardRefuses fills and empties a pool step by step.
func TestGuardRefuses(t *testing.T) {
	volumes := []guarded{{"high", 9, 0}, {"mid", 5, 0}, {"low", 0, 0}}
	var s guardState
	var got []string
	for i, percent := range []int64{50, 98, 99, 100, 99, 98, 97, 96, 95, 90} {
		f := crowded(percent, hundred, volumes...)
		f.data.used -= f.data.total / 2000 // 0.05 % less
		f.at = noon.Add(time.Duration(i) * time.Hour)
		got = append(got, fmt.Sprintf("%d%v", percent, s.look(f).refuse))
	}
	// 1 % is the reserve; each volume before the last has half of that to itself.
	want := []string{"50[]", "98[]", "99[low mid]", "100[low mid high]", "99[low mid high]", "98[low]", "97[]", "96[]", "95[]", "90[]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// Nearly full metadata has the same effect as nearly full data.
func TestGuardRefusesForMetadata(t *testing.T) {
	f := crowded(10, hundred, guarded{"a", 1, 0}, guarded{"b", 2, 0})
	f.meta = usage{8*mib - 450*kib, 8 * mib} // 5 % are the reserve, and half as much the first one's step
	if a := new(guardState).look(f); !slices.Equal(a.refuse, []string{"a"}) {
		t.Errorf("refused %v", a.refuse)
	}
	f.worst = 0 // data can't run out, metadata can
	f.meta.used = f.meta.total
	if a := new(guardState).look(f); !slices.Equal(a.refuse, []string{"a", "b"}) {
		t.Errorf("refused %v", a.refuse)
	}
}

// Who is new, or has another priority now, gets its turn: none writes while one
// of a higher priority may not. Who is gone is forgotten.
func TestGuardOrder(t *testing.T) {
	var s guardState
	f := crowded(99, hundred, guarded{"b", 5, 0}, guarded{"c", 7, 0})
	f.data.used = hundred - hundred*3/200 + 1 // below the limit of the first, not of the second
	if got := s.look(f).refuse; !slices.Equal(got, []string{"b"}) {
		t.Fatalf("refused %v", got)
	}
	f.volumes = append(f.volumes, guarded{"a", 1, 0})
	f.at = f.at.Add(time.Hour)
	if got := s.look(f).refuse; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("with a new one: refused %v", got)
	}
	f.volumes, f.at = f.volumes[1:2], f.at.Add(time.Hour)
	if got := s.look(f).refuse; len(got) > 0 {
		t.Errorf("with only c left: refused %v", got)
	}
	// Of the same priority the one that grows comes first.
	s = guardState{}
	f = crowded(50, hundred, guarded{"a", 5, 0}, guarded{"b", 5, 0})
	s.look(f)
	f.at, f.data.used = f.at.Add(time.Hour), hundred-hundred*3/200+1
	f.volumes = []guarded{{"a", 5, 0}, {"b", 5, gib}}
	if got := s.look(f).refuse; !slices.Equal(got, []string{"b"}) {
		t.Errorf("refused %v", got)
	}
}

// TestGuardIsInTime has writers fill pools as fast as they can while the guard
// looks when it says. Chunks in flight when writes are refused still come.
func TestGuardIsInTime(t *testing.T) {
	const switching = 100 * time.Millisecond
	for _, tt := range []struct {
		total int64
		rate  float64 // bytes a second, of each writer
	}{{300 * mib, 30e6}, {2 * gib, 100e6}, {20 * gib, 500e6}, {tib, 1e9}, {10 * tib, 2e9}} {
		t.Run(fmt.Sprintf("%d MiB at %.0f MB/s", tt.total/mib, tt.rate/1e6), func(t *testing.T) {
			var s guardState
			at, used := noon, float64(tt.total)*0.7
			volumes := []guarded{{"low", 1, 0}, {"high", 9, 0}}
			var refused []string
			var order []string
			for range 1_000_000 {
				for i := range volumes {
					volumes[i].used += 1
				}
				f := crowded(0, tt.total, slices.Clone(volumes)...)
				f.at, f.data.used = at, int64(used)
				a := s.look(f)
				for _, v := range a.refuse {
					if !slices.Contains(order, v) {
						order = append(order, v)
					}
				}
				write := func(d time.Duration) {
					for _, v := range volumes {
						if !slices.Contains(refused, v.name) {
							used += tt.rate * d.Seconds()
						}
					}
					at = at.Add(d)
				}
				write(switching)
				refused = a.refuse
				if len(refused) == len(volumes) {
					break
				}
				write(max(a.next-switching, 0))
			}
			if used > float64(tt.total) {
				t.Errorf("overfilled by %.0f MB", (used-float64(tt.total))/1e6)
			}
			if !slices.Equal(order, []string{"low", "high"}) {
				t.Errorf("refused %v", order)
			}
			t.Logf("%.1f %% used at the end", used/float64(tt.total)*100)
		})
	}
}

func TestOutlook(t *testing.T) {
	var s guardState
	f := crowded(10, tib)
	add := func(d time.Duration, bytes int64) {
		for range int(d / time.Minute) {
			f.at, f.data.used = f.at.Add(time.Minute), f.data.used+bytes
			s.look(f)
		}
	}
	s.look(f)
	add(9*time.Minute, mib)
	if rate, end := s.outlook(gib); rate != 0 || !end.IsZero() {
		t.Errorf("after 9 minutes: %v, %v", rate, end)
	}
	add(51*time.Minute, mib)
	rate, end := s.outlook(600 * mib)
	if got := rate * 60 / float64(mib); got < 0.99 || got > 1.01 {
		t.Errorf("%v MiB a minute, want 1", got)
	}
	if left := end.Sub(f.at); left < 595*time.Minute || left > 605*time.Minute {
		t.Errorf("ends in %v, want 10 h", left)
	}
	if _, end := s.outlook(1 << 60); !end.IsZero() {
		t.Errorf("says %v, which is too far ahead", end)
	}
	add(6*time.Hour, 0) // a quiet afternoon: that of the day counts
	if rate, _ := s.outlook(gib); rate <= 0 || rate*60 > float64(mib)/2 {
		t.Errorf("%v bytes a second", rate)
	}
	add(12*time.Hour, -mib)
	if rate, end := s.outlook(gib); rate > 0 || !end.IsZero() {
		t.Errorf("shrinking: %v, %v", rate, end)
	}
}

func TestRoomToGrow(t *testing.T) {
	// with makes a group whose data has 40 extents, whose metadata has 2, and
	// whose disks have so many extents free.
	with := func(g lvm.Group, free ...int64) lvm.Group {
		for i := range g.Logical {
			switch v := &g.Logical[i]; {
			case v.Name == "thinpool_tdata" || v.Name == "thinpool_tdata_rimage_0" || v.Name == "thinpool_tdata_rimage_1":
				v.Size = 40 * g.ExtentSize
			case v.Name == "thinpool_tmeta" || v.Name == "thinpool_tmeta_rimage_0" || v.Name == "thinpool_tmeta_rimage_1":
				v.Size = 2 * g.ExtentSize
			}
		}
		for i := len(g.Physical); i < len(free); i++ {
			g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: fmt.Sprint("/dev/sdx", i)})
		}
		for i := range g.Physical {
			g.Physical[i].Extents, g.Physical[i].Allocated = 1000, 1000-free[i]
		}
		return g
	}
	single := func(free ...int64) lvm.Group {
		g := lvm.Group{Name: "tank", ExtentSize: 4 * mib, Physical: make([]lvm.PhysicalVolume, len(free)), Logical: []lvm.LogicalVolume{
			{Name: "thinpool_tdata", Hidden: true, Devices: []string{"/dev/sda"}}, {Name: "thinpool_tmeta", Hidden: true, Devices: []string{"/dev/sda"}}}}
		return with(g, free...)
	}
	for _, tt := range []struct {
		name       string
		g          lvm.Group
		dead       bool
		data, meta int64 // extents
		why        string
	}{
		{name: "mirror", g: with(group("tank", "ab"), 120, 120), data: 110, meta: 114},
		{name: "mirror, full", g: with(group("tank", "ab"), 10, 10), meta: 4, why: "its disks have no room left"},
		{name: "mirror, a disk is missing", g: with(group("tank", "aB"), 120, 120), why: "a disk is missing"},
		{name: "mirror, a leg is dead", g: with(group("tank", "ab"), 120, 120), dead: true, why: "a copy of it has failed"},
		{name: "mirror, disks of two sizes", g: with(group("tank", "ab"), 120, 700), data: 110, meta: 114},
		{name: "mirror, a disk was added", g: with(group("tank", "ab"), 120, 120, 990), data: 110, meta: 114},
		{name: "mirror, two disks were added", g: with(group("tank", "ab"), 120, 120, 990, 510), data: 610, meta: 618},
		{name: "single", g: single(120), data: 110, meta: 114},
		{name: "single, a disk was added", g: single(0, 1000), data: 980, meta: 994},
	} {
		t.Run(tt.name, func(t *testing.T) {
			devices := map[string]lvm.Device{"tank-thinpool_tdata": {Raid: &lvm.Raid{Legs: "AA"}}}
			if tt.dead {
				devices["tank-thinpool_tdata"] = lvm.Device{Raid: &lvm.Raid{Legs: "AD"}}
			}
			got := roomToGrow(tt.g, devices)
			if got.data.bytes() != tt.data*4*mib || got.meta.bytes() != tt.meta*4*mib || got.why != tt.why {
				t.Errorf("%+v, want %+v", got, tt)
			}
		})
	}
}
