package lvm_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestParseState reads reports of LVM 2.03.16: a mirrored thin pool, and the
// same one without its second disk.
func TestParseState(t *testing.T) {
	volumes := func(a, b string, partial bool) []lvm.LogicalVolume {
		lv := func(name, uuid string, size int64, kind string, partial bool, devices ...string) lvm.LogicalVolume {
			return lvm.LogicalVolume{Name: name, Hidden: true, UUID: uuid, Size: size, Type: kind, Partial: partial, Devices: devices}
		}
		v := []lvm.LogicalVolume{
			lv("golden", "OVDwee-GijO-6uFd-yQBr-XQMI-QPQY-Dqu0YJ", 100<<20, "thin", partial),
			lv("thinpool", "mtDr6H-HldK-xo1G-Up0K-gfeT-jzIJ-82fYoC", 160<<20, "thin-pool", partial, "thinpool_tdata"),
			lv("thinpool_tdata", "ekd6YP-f5L1-YF4E-gysr-mRt4-UhPL-a2Kkw3", 160<<20, "raid1", partial, "thinpool_tdata_rimage_0", "thinpool_tdata_rimage_1"),
			lv("thinpool_tdata_rimage_0", "cMke3v-NSd9-ENKd-swbf-Mxtn-htT7-o3Sch7", 160<<20, "linear", false, a),
			lv("thinpool_tdata_rimage_1", "AuC7gw-xZQx-420i-Hald-S7hk-uIF0-mQ2fqx", 160<<20, "linear", partial, b),
			lv("thinpool_tdata_rmeta_0", "ld0EDg-jKvm-ACla-m2IL-0lQ9-WRi5-7r0mpC", 4<<20, "linear", false, a),
			lv("thinpool_tdata_rmeta_1", "p83RqM-TB1e-HUeN-aMda-ka8d-OlEa-9pOCLJ", 4<<20, "linear", partial, b),
			lv("thinpool_tmeta", "L8qiqX-JL5t-tFiA-5WUP-OYGh-4HEn-ndvz76", 8<<20, "raid1", partial, "thinpool_tmeta_rimage_0", "thinpool_tmeta_rimage_1"),
			lv("thinpool_tmeta_rimage_0", "Ga0mKk-kmn9-l5mo-Tahm-bcQI-KEMi-oJCzdY", 8<<20, "linear", false, a),
			lv("thinpool_tmeta_rimage_1", "Rc2To1-olCf-YJuN-rSy7-ZWf3-0Xrw-0RSzSc", 8<<20, "linear", partial, b),
			lv("thinpool_tmeta_rmeta_0", "oLISw6-L3Ir-EQBi-KF1S-rq0E-XqEZ-k2UUDe", 4<<20, "linear", false, a),
			lv("thinpool_tmeta_rmeta_1", "BvT8dy-4IEb-sOy8-ixIz-wFSA-wHhy-zbzZGQ", 4<<20, "linear", partial, b),
		}
		v[0].Hidden, v[1].Hidden = false, false
		v[0].Pool = "thinpool"
		return v
	}
	group := lvm.Group{
		Name: "tank", UUID: "L6njj2-ehiu-9qcm-f1Hr-J5SM-YJsK-ed99sY", SystemID: "sanstick",
		Tags: []string{"sanstick", "sanstick.disk.abc.A"}, ExtentSize: 4 << 20, Size: 528482304, Free: 159383552,
	}
	a := lvm.PhysicalVolume{Path: "/dev/vda", UUID: "t3hcYX-s25T-kvIP-y0lm-wx0T-7SPC-ECpNSQ", Size: 264241152, Extents: 63, Allocated: 44}
	b := lvm.PhysicalVolume{Path: "/dev/vdb", UUID: "5S3URA-X1ba-Ddbd-eqFw-EgZS-ZWXx-LIgHcD", Size: 264241152, Extents: 63, Allocated: 44}
	c := lvm.PhysicalVolume{Path: "/dev/vdc", UUID: "uXwkhg-LEPh-3tGb-feiG-Iorw-nQ5I-zxTWwR", Size: 268435456}

	whole := group
	whole.Physical, whole.Logical = []lvm.PhysicalVolume{a, b}, volumes("/dev/vda", "/dev/vdb", false)
	lame := group
	gone := b
	gone.Path, gone.Missing = "", true
	lame.Missing, lame.Physical, lame.Logical = 1, []lvm.PhysicalVolume{a, gone}, volumes("/dev/vda", "[unknown]", true)

	tests := []struct {
		name, report string
		want         lvm.State
	}{
		{"a mirror, and a disk in no group", string(testdata(t, "mirror.json")), lvm.State{Groups: []lvm.Group{whole}, Unused: []lvm.PhysicalVolume{c}}},
		{"a disk is missing", string(testdata(t, "missing.json")), lvm.State{Groups: []lvm.Group{lame}}},
		{"nothing", `{"report": []}`, lvm.State{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := lvm.ParseState([]byte(tt.report))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseStateErrors(t *testing.T) {
	for _, report := range []string{
		``,
		`{`,
		`{"report":[{"vg":[{"vg_name":"a"}]}]}`,
		`{"report":[{"vg":[{},{}]}]}`,
		`{"report":[{"pv":[{"pv_name":"/dev/sda","pv_uuid":"x","pv_size":"-1"}]}]}`,
	} {
		if s, err := lvm.ParseState([]byte(report)); err == nil {
			t.Errorf("report %s gave %+v, want an error", report, s)
		}
	}
}

func FuzzParseState(f *testing.F) {
	f.Add(testdata(f, "mirror.json"))
	f.Add(testdata(f, "missing.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := lvm.ParseState(b)
		for _, g := range s.Groups {
			if err == nil && g.Name == "" {
				t.Error("group without a name")
			}
		}
	})
}

func TestState(t *testing.T) {
	complaint := &sys.ExitError{Command: "lvm fullreport", Code: 5, Stderr: "WARNING: Couldn't find device"}
	tests := []struct {
		name   string
		stdout string
		err    error
		groups int
		fails  bool
	}{
		{name: "fine", stdout: string(testdata(t, "mirror.json")), groups: 1},
		{name: "with complaints", stdout: string(testdata(t, "missing.json")), err: complaint, groups: 1},
		{name: "complaints only", err: complaint, fails: true},
		{name: "not even run", err: errors.New("no such file"), fails: true},
		{name: "other exit code", stdout: `{"report":[]}`, err: &sys.ExitError{Code: 3}, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &systest.Runner{Handle: func(sys.Command) (sys.Output, error) {
				return sys.Output{Stdout: []byte(tt.stdout), Stderr: []byte("WARNING: something")}, tt.err
			}}
			s, err := (&lvm.Client{Runner: r}).State(t.Context())
			if (err != nil) != tt.fails || len(s.Groups) != tt.groups {
				t.Errorf("%d groups, error %v; want %d groups, error: %v", len(s.Groups), err, tt.groups, tt.fails)
			}
		})
	}
}
