package sys_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
)

const mountinfo = `22 1 0:20 / / rw - rootfs rootfs rw
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
24 22 8:3 / /stick rw,noatime shared:1 - vfat /dev/sda3 rw,fmask=0077
25 22 0:22 / /mnt/a\040b\134 rw master:2 propagate_from:1 - tmpfs none rw
`

func TestParseMountinfo(t *testing.T) {
	got, err := sys.ParseMountinfo(strings.NewReader(mountinfo))
	if err != nil {
		t.Fatal(err)
	}
	want := []sys.MountPoint{
		{Source: "rootfs", Target: "/", FSType: "rootfs", Device: "0:20"},
		{Source: "proc", Target: "/proc", FSType: "proc", Device: "0:21"},
		{Source: "/dev/sda3", Target: "/stick", FSType: "vfat", Device: "8:3"},
		{Source: "none", Target: `/mnt/a b\`, FSType: "tmpfs", Device: "0:22"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"what", "1 2 3:4 / / rw", "1 2 3:4 - ext4 x rw", "1 2 3:4 / / rw - ext4"} {
		if _, err := sys.ParseMountinfo(strings.NewReader(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestMounts(t *testing.T) {
	all, err := sys.Mounts("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Target == "/proc" && m.FSType == "proc" {
			return
		}
	}
	t.Errorf("no /proc among %v", all)
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add(mountinfo)
	f.Add(`1 2 3:4 / /a\0 rw - x y`)
	f.Add(`1 2 3:4 / /a\777 rw - x y`)
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = sys.ParseMountinfo(strings.NewReader(s))
	})
}
