package image

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/imagebuild/hardware"
)

func TestInventory(t *testing.T) {
	got := inventory([]string{"lib", "lib/modules", "lib/modules/6.1.0-57-amd64", "lib/modules/6.1.0-57-amd64/modules.alias",
		"lib/modules/6.1.0-57-amd64/kernel/drivers/md/dm-mod.ko.zst", "lib/firmware", "lib/firmware/rtl_nic", "lib/firmware/rtl_nic/a.fw", "lib/firmware/b.xz"})
	want := hardware.Image{Kernel: "6.1.0-57-amd64", Modules: map[string]bool{"dm_mod": true}, Firmware: map[string]bool{"rtl_nic": true, "rtl_nic/a.fw": true, "b": true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
