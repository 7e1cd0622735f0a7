package disk_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
)

// tree makes a sysfs: a content for each file, and "-> target" for a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// machine is an old PC with a bit of everything.
var machine = map[string]string{
	"block/vda": "-> ../devices/pci0000:00/0000:00:03.0/virtio0/block/vda",
	"devices/pci0000:00/0000:00:03.0/virtio0/block/vda/size":                      "524288\n",
	"devices/pci0000:00/0000:00:03.0/virtio0/block/vda/serial":                    "SER-a",
	"devices/pci0000:00/0000:00:03.0/virtio0/block/vda/queue/rotational":          "1\n",
	"devices/pci0000:00/0000:00:03.0/virtio0/block/vda/queue/logical_block_size":  "512\n",
	"devices/pci0000:00/0000:00:03.0/virtio0/block/vda/queue/physical_block_size": "4096\n",

	"block/sda": "-> ../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/size":             "7814037168\n",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/queue/rotational": "1\n",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/device":           "-> ../..",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/type":                       "0\n",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/vendor":                     "ATA     \n",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/model":                      "WDC WD40EFRX-68N\n",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/vpd_pg80":                   "\x00\x80\x00\x14     WD-WCC4E1234567",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/vpd_pg83": "\x00\x83\x00\x18" +
		"\x02\x01\x00\x08ATA     " + "\x01\x03\x00\x08\x50\x00\xc5\x00\xa1\xb2\xc3\xd4",

	"devices/pci0000:00/0000:00:1f.2/ata1/ata_port/ata1/port_no":                              "2\n",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/vpd_pg89":                 "\x00\x89\x02\x38" + strings.Repeat("\x00", 56+2*82) + "\x01\x40",
	"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/hwmon/hwmon1/temp1_input": "34000\n",
	"bus/pci/slots/4/address": "0000:00:1d\n",

	"block/sdb": "-> ../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/idVendor":                                                             "0781\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/serial":                                                               "4C530001230\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/size":                     "30031872\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/ro":                       "1\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/device":                   "-> ../..",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/vendor":                             "SanDisk \n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/model":                              "Ultra Fit       \n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/sdb1/size":                "2048\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/sdb1/partition":           "1\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/sdb3/size":                "131072\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/sdb3/partition":           "3\n",
	"devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/host6/target6:0:0/6:0:0:0/block/sdb/queue/logical_block_size": "junk\n",

	"block/nvme0n1": "-> ../devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1",
	"devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1/size":   "1000215216\n",
	"devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1/wwid":   "eui.0025385b71b0d5e3\n",
	"devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1/device": "-> ..",
	"devices/pci0000:00/0000:00:1d.0/nvme/nvme0/serial":         "S3Z8NB0K123456      \n",
	"devices/pci0000:00/0000:00:1d.0/nvme/nvme0/model":          "Samsung SSD 960 EVO\n",

	// No disks.
	"block/sr0/size": "2097151\n", "block/loop0/size": "8\n", "block/dm-0/size": "8\n", "block/md0/size": "8\n",
	"block/ram0/size": "8192\n", "block/zram0/size": "8\n", "block/nbd0/size": "8\n", "block/nvme0c0n1/size": "8\n",
	"block/mmcblk0boot0/size": "8192\n",
	"block/sdc/size":          "0\n",              // an empty card reader
	"block/sdd/size":          "2097151\n",        // an optical drive in disguise
	"block/sdd/device/type":   "5\n",              //
	"block/sde":               "-> ../devices/no", // just vanished
}

func TestScan(t *testing.T) {
	got, err := disk.Scan(tree(t, machine))
	if err != nil {
		t.Fatal(err)
	}
	want := []disk.Disk{
		{Name: "sda", Path: "/dev/sda", Serial: "WD-WCC4E1234567", WWN: "wwn-0x5000c500a1b2c3d4", Model: "WDC WD40EFRX-68N", Size: 4000787030016, Rotational: true, Transport: "sata", Port: "SATA port 2 (ata1, PCI 00:1f.2)", SMART: true, LogicalBlock: 512, PhysicalBlock: 512},
		{Name: "sdb", Path: "/dev/sdb", Serial: "4C530001230", Model: "SanDisk Ultra Fit", Size: 15376318464, ReadOnly: true, Transport: "usb", Port: "USB port 1-4", LogicalBlock: 512, PhysicalBlock: 512},
		{Name: "vda", Path: "/dev/vda", Serial: "SER-a", Size: 268435456, Rotational: true, Transport: "virtio", Port: "PCI 00:03.0", LogicalBlock: 512, PhysicalBlock: 4096},
		{Name: "nvme0n1", Path: "/dev/nvme0n1", Serial: "S3Z8NB0K123456", WWN: "wwn-eui.0025385b71b0d5e3", Model: "Samsung SSD 960 EVO", Size: 512110190592, Transport: "nvme", Port: "PCI 00:1d.0, slot 4", SMART: true, LogicalBlock: 512, PhysicalBlock: 512},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
}

func TestTemperature(t *testing.T) {
	root := tree(t, machine)
	if c, ok := disk.Temperature(root, "sda"); !ok || c != 34 {
		t.Errorf("sda: %d, %v; want 34", c, ok)
	}
	for _, name := range []string{"sdb", "vda", "../sda"} {
		if c, ok := disk.Temperature(root, name); ok {
			t.Errorf("%s: %d, want none", name, c)
		}
	}
}

func TestPort(t *testing.T) {
	const sas = "devices/pci0000:00/0000:03:00.0/host0/port-0:1/end_device-0:1"
	root := tree(t, map[string]string{
		"block/sda": "-> ../" + sas + "/target0:0:1/0:0:1:0/block/sda",
		sas + "/target0:0:1/0:0:1:0/block/sda/size":       "8\n",
		sas + "/sas_device/end_device-0:1/phy_identifier": "5\n",
		sas + "/sas_device/end_device-0:1/bay_identifier": "3\n",
		"block/sdb": "-> ../devices/pci0000:00/0000:04:00.0/host1/target1:0:2/1:0:2:0/block/sdb",
		"devices/pci0000:00/0000:04:00.0/host1/target1:0:2/1:0:2:0/block/sdb/size":           "8\n",
		"devices/pci0000:00/0000:04:00.0/host1/target1:0:2/1:0:2:0/block/sdb/device":         "-> ../..",
		"devices/pci0000:00/0000:04:00.0/host1/target1:0:2/1:0:2:0/enclosure_device:Slot 07": "x",
	})
	disks, err := disk.Scan(root)
	if err != nil || len(disks) != 2 {
		t.Fatalf("disks %v, %v", disks, err)
	}
	want := []string{"bay 3, SAS phy 5, PCI 03:00.0", "enclosure slot Slot 07, SCSI 1:0:2:0, PCI 04:00.0"}
	if diff := cmp.Diff(want, []string{disks[0].Port, disks[1].Port}); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}

func TestScanNothing(t *testing.T) {
	got, err := disk.Scan(t.TempDir())
	if err != nil || len(got) != 0 {
		t.Errorf("disks = %v, error %v; want none", got, err)
	}
}

func TestFind(t *testing.T) {
	disks := []disk.Disk{
		{Name: "sda", Serial: "A", WWN: "wwn-0x5000c500a1b2c3d4"},
		{Name: "sdb", Serial: "0123456789"},
		{Name: "sdc", Serial: "0123456789"},
		{Name: "sdd"},
	}
	tests := []struct {
		name string
		want []string
	}{
		{"A", []string{"sda"}},
		{"a", nil},
		{"wwn-0x5000C500A1B2C3D4", []string{"sda"}},
		{"0123456789", []string{"sdb", "sdc"}},
		{"", nil},
		{"sdd", nil},
	}
	for _, tt := range tests {
		var got []string
		for _, d := range disk.Find(disks, tt.name) {
			got = append(got, d.Name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Find(%q) (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A disk that is unplugged at this moment doesn't hide the others. Its
// attributes in sysfs give ENODEV; a socket, when opened, gives the like.
func TestScanVanishing(t *testing.T) {
	root, err := os.MkdirTemp("", "scan") // short: the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	for _, name := range []string{"vda", "vdb"} {
		if err := os.MkdirAll(filepath.Join(root, "block", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(root, "block/vda/size"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(filepath.Join(root, "block/vdb/size"), []byte("8\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	disks, err := disk.Scan(root)
	if err != nil || len(disks) != 1 || disks[0].Name != "vdb" {
		t.Errorf("disks %v, %v", disks, err)
	}
}
