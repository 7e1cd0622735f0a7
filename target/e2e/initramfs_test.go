//go:build e2e

package e2e

import (
	_ "embed"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/mkuimage/cpio"

	"sanstick/imagebuild/apt"
	"sanstick/imagebuild/image"
	"sanstick/imagebuild/rootfs"
)

//go:embed testdata/init.sh
var initScript string

const (
	buildDir = "../../build"
	// The names under which the guest logs in.
	initiator = "iqn.2006-12.test.sanstick:linux"
	second    = "iqn.2006-12.test.sanstick:second"
)

// packages are what the guest runs beside Debian's kernel. None of it is in
// the stick's image.
var packages = [...]string{
	"busybox-static", "dmsetup", "e2fsprogs", "kmod", "multipath-tools", "open-iscsi", "sg3-utils", "udev", "xfsprogs",
}

// programs are files of those packages, or all files that match. Their
// libraries come with them.
var programs = [...]string{
	"bin/busybox", "bin/kmod", "bin/udevadm", "lib/udev/scsi_id", "lib/udev/cdrom_id",
	"sbin/iscsid", "sbin/iscsiadm",
	"sbin/mke2fs", "sbin/e2fsck", "sbin/mkfs.xfs", "sbin/xfs_repair",
	"sbin/dmsetup", "sbin/multipath", "sbin/multipathd", "sbin/mpathpersist",
	"lib/multipath/lib*.so", "lib/x86_64-linux-gnu/libgcc_s.so.1", // both are loaded at run time
	"usr/bin/sg_*", "usr/bin/sginfo",
}

// files are the other files of those packages that are needed.
var files = [...]string{
	"etc/mke2fs.conf",
	"lib/udev/rules.d/50-udev-default.rules", "lib/udev/rules.d/60-persistent-storage.rules", // names for disks
	"lib/udev/rules.d/55-dm.rules", "lib/udev/rules.d/95-dm-notify.rules", // device mapper waits for these
}

// modules are loaded by the guest, with all they need.
var modules = [...]string{
	"virtio_pci", "virtio_net", "virtio-rng", "iscsi_tcp", "sd_mod", "sr_mod", "isofs", "sg", "crc32c_generic", "ext4", "xfs",
	"dm_multipath", "dm-round-robin", "dm-service-time", "scsi_dh_alua",
}

// texts are the files that are written for the guest.
var texts = map[string]string{
	"etc/modules": strings.Join(modules[:], "\n"),
	"etc/passwd":  "root:x:0:0::/:/bin/sh\n", // iscsid obeys root, by name
	"etc/group": "root:x:0:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\ndialout:x:20:\ncdrom:x:24:\ntape:x:26:\naudio:x:29:\n" +
		"video:x:44:\nkmem:x:15:\ninput:x:101:\nsgx:x:102:\nkvm:x:103:\nrender:x:104:\n", // udev's rules name them
	"etc/iscsi/initiatorname.iscsi": "InitiatorName=" + initiator + "\n",
	"etc/iscsi/ifaces/second": "iface.iscsi_ifacename = second\niface.transport_name = tcp\n" +
		"iface.initiatorname = " + second + "\n",
	"etc/multipath.conf": `defaults {
	polling_interval 1
	max_polling_interval 1
	find_multipaths no
	user_friendly_names yes
	path_grouping_policy group_by_prio
	prio alua
	path_checker tur
	fast_io_fail_tmo 2
	failback immediate
	no_path_retry 60
	reservation_key file
}
`,
}

// makeInitramfs makes an initramfs with Debian's initiator and returns it with
// the kernel that the image was made of.
func makeInitramfs(t *testing.T, pattern []byte) (vmlinuz, initrd string) {
	t.Helper()
	vmlinuz, _, err := image.BootFiles(buildDir)
	if err != nil || vmlinuz == "" {
		t.Fatalf("there is no kernel in %s: %v (make image fetches it)", buildDir, err)
	}
	set, err := apt.Fetch(t.Context(), apt.Options{
		Dir: filepath.Join(buildDir, "cache", "apt-linux-guest"), Names: packages[:],
	})
	if err != nil {
		t.Fatal(err)
	}
	root, err := set.Unpack(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "initrd.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := archive{t, cpio.NewDedupWriter(cpio.Newc.Writer(out))}
	for _, dir := range []string{"dev", "mnt", "proc", "run", "sys", "tmp", "var"} {
		w.add(cpio.Directory(dir, 0o755))
	}
	w.add(cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.StaticFile("init", initScript, 0o755),
		cpio.StaticFile("bin/same", same, 0o755),
		cpio.StaticFile("pattern", string(pattern), 0o644),
		cpio.Symlink("var/run", "../run"),
		cpio.Symlink("lib/systemd/systemd-udevd", "/bin/udevadm"),
		cpio.Symlink("sbin/mkfs.ext4", "mke2fs"),
		cpio.Symlink("sbin/modprobe", "../bin/kmod"))
	for name, text := range texts {
		w.add(cpio.StaticFile(name, text, 0o600))
	}
	w.programs(rootfs.Tree{Dir: root})
	w.modules(vmlinuz)
	if err := cpio.WriteTrailer(w.records); err != nil {
		t.Fatalf("cannot finish the initramfs: %v", err)
	}
	return vmlinuz, out.Name()
}

// archive is an initramfs being made.
type archive struct {
	t       *testing.T
	records cpio.RecordWriter
}

func (w archive) add(records ...cpio.Record) {
	w.t.Helper()
	if err := cpio.WriteRecordsAndDirs(w.records, records); err != nil {
		w.t.Fatal(err)
	}
}

// file adds a file of the host.
func (w archive) file(name, host string, perm uint64) {
	w.t.Helper()
	data, err := os.ReadFile(host)
	if err != nil {
		w.t.Fatal(err)
	}
	w.add(cpio.StaticFile(name, string(data), perm))
}

// programs adds what the packages give, unpacked in tree.
func (w archive) programs(tree rootfs.Tree) {
	w.t.Helper()
	var names []string
	for _, p := range programs {
		if !strings.Contains(p, "*") {
			names = append(names, p)
			continue
		}
		found, err := filepath.Glob(filepath.Join(tree.Dir, p))
		if err != nil || found == nil {
			w.t.Fatalf("there is no %s in the packages: %v", p, err)
		}
		for _, f := range found {
			names = append(names, strings.TrimPrefix(f, tree.Dir+"/"))
		}
	}
	libs, err := tree.Libraries(names...)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range libs {
		w.file(l.Name, l.File, 0o755)
	}
	for _, name := range slices.Concat(names, files[:]) {
		if slices.ContainsFunc(libs, func(l rootfs.Library) bool { return l.Name == name }) {
			continue
		}
		host, err := tree.Path(name)
		if err != nil {
			w.t.Fatal(err)
		}
		w.file(name, host, 0o755)
	}
}

// modules adds the kernel's modules.
func (w archive) modules(vmlinuz string) {
	w.t.Helper()
	release := strings.TrimPrefix(filepath.Base(vmlinuz), "vmlinuz-")
	dir, err := (rootfs.Tree{Dir: filepath.Dir(filepath.Dir(vmlinuz))}).Path("lib/modules/" + release)
	if err != nil {
		w.t.Fatal(err)
	}
	index, err := filepath.Glob(filepath.Join(dir, "modules.*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, host := range index {
		w.file(path.Join("lib/modules", release, filepath.Base(host)), host, 0o644)
	}
	for _, m := range moduleFiles(w.t, filepath.Join(dir, "modules.dep")) {
		w.file(path.Join("lib/modules", release, m), filepath.Join(dir, m), 0o644)
	}
}

// moduleFiles lists the files of modules and of all they need.
func moduleFiles(t *testing.T, modulesDep string) []string {
	t.Helper()
	data, err := os.ReadFile(modulesDep)
	if err != nil {
		t.Fatal(err)
	}
	plain := func(name string) string { return strings.ReplaceAll(name, "_", "-") }
	byName := make(map[string][]string) // the module's file, then those it needs
	for line := range strings.Lines(string(data)) {
		file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		byName[plain(name)] = append([]string{file}, strings.Fields(needs)...)
	}
	var out []string
	for _, m := range modules {
		if byName[plain(m)] == nil {
			t.Fatalf("the kernel has no module %s", m)
		}
		out = append(out, byName[plain(m)]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
