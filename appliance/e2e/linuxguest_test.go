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
	"time"

	"github.com/u-root/mkuimage/cpio"

	"sanstick/imagebuild/apt"
	built "sanstick/imagebuild/image"
	"sanstick/imagebuild/qemu"
	"sanstick/imagebuild/rootfs"
)

//go:embed testdata/linux-init.sh
var linuxInit string

const (
	buildDir       = "../../build"
	linuxInitiator = "iqn.2006-12.test.sanstick:linux"
)

// linuxPackages are what the guest runs beside Debian's kernel. None of it is
// in the stick's image.
var linuxPackages = [...]string{"open-iscsi", "busybox-static", "e2fsprogs", "kmod"}

var linuxPrograms = [...]string{
	"sbin/iscsid", "sbin/iscsiadm", "sbin/mke2fs", "sbin/e2fsck", "bin/kmod", "bin/busybox",
}

// linuxModules are loaded by the guest, with all they need.
var linuxModules = [...]string{
	"virtio_pci", "virtio_net", "virtio-rng", "iscsi_tcp", "sd_mod", "crc32c_generic", "ext4",
}

// linuxGuest makes an initramfs with Debian's initiator and returns it with
// the kernel that the image was made of.
func linuxGuest(t *testing.T, pattern []byte) (vmlinuz, initrd string) {
	t.Helper()
	vmlinuz, _, err := built.BootFiles(buildDir)
	if err != nil || vmlinuz == "" {
		t.Fatalf("there is no kernel in %s: %v (make image fetches it)", buildDir, err)
	}
	set, err := apt.Fetch(t.Context(), apt.Options{
		Dir: filepath.Join(buildDir, "cache", "apt-linux-guest"), Names: linuxPackages[:],
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
	w := cpio.NewDedupWriter(cpio.Newc.Writer(out))
	add := func(records ...cpio.Record) {
		t.Helper()
		if err := cpio.WriteRecordsAndDirs(w, records); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name, host string, perm uint64) {
		t.Helper()
		data, err := os.ReadFile(host)
		if err != nil {
			t.Fatal(err)
		}
		add(cpio.StaticFile(name, string(data), perm))
	}
	for _, dir := range []string{"dev", "etc/iscsi", "proc", "run", "sys", "tmp", "var"} {
		add(cpio.Directory(dir, 0o755))
	}
	add(cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.StaticFile("init", linuxInit, 0o755),
		cpio.StaticFile("pattern", string(pattern), 0o644),
		cpio.StaticFile("etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644), // iscsid obeys root, by name
		cpio.StaticFile("etc/iscsi/initiatorname.iscsi", "InitiatorName="+linuxInitiator+"\n", 0o600),
		// Debian's file without the parts for systemd, and a shorter patience.
		cpio.StaticFile("etc/iscsi/iscsid.conf", "node.startup = manual\nnode.session.initial_login_retry_max = 1\n", 0o600),
		cpio.Symlink("var/run", "../run"),
		cpio.Symlink("sbin/mkfs.ext4", "mke2fs"),
		cpio.Symlink("sbin/modprobe", "../bin/kmod"))
	tree := rootfs.Tree{Dir: root}
	for _, p := range append(linuxPrograms[:], "etc/mke2fs.conf") {
		host, err := tree.Path(p)
		if err != nil {
			t.Fatal(err)
		}
		file(p, host, 0o755)
	}
	libs, err := tree.Libraries(linuxPrograms[:]...)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range libs {
		file(l.Name, l.File, 0o755)
	}
	release := strings.TrimPrefix(filepath.Base(vmlinuz), "vmlinuz-")
	modules, err := (rootfs.Tree{Dir: filepath.Dir(filepath.Dir(vmlinuz))}).Path("lib/modules/" + release)
	if err != nil {
		t.Fatal(err)
	}
	index, err := filepath.Glob(filepath.Join(modules, "modules.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range index {
		file(path.Join("lib/modules", release, filepath.Base(host)), host, 0o644)
	}
	for _, m := range moduleFiles(t, filepath.Join(modules, "modules.dep")) {
		file(path.Join("lib/modules", release, m), filepath.Join(modules, m), 0o644)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatalf("cannot finish the initramfs: %v", err)
	}
	return vmlinuz, out.Name()
}

// moduleFiles lists the files of linuxModules and of all they need.
func moduleFiles(t *testing.T, modulesDep string) []string {
	t.Helper()
	data, err := os.ReadFile(modulesDep)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string][]string) // the module's file, then those it needs
	for line := range strings.Lines(string(data)) {
		file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		byName[name] = append([]string{file}, strings.Fields(needs)...)
	}
	var out []string
	for _, m := range linuxModules {
		if byName[m] == nil {
			t.Fatalf("the kernel has no module %s", m)
		}
		out = append(out, byName[m]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// bootGuest starts a machine without firmware and waits until its first
// program runs. Once in some thirty times QEMU's emulation hangs before the
// kernel prints a byte, which says nothing about a target: then it is started
// again.
func bootGuest(t *testing.T, o qemu.Options) *machine {
	t.Helper()
	for attempt := 1; ; attempt++ {
		started := time.Now()
		vm, err := qemu.Start(t.Context(), o)
		if err != nil {
			t.Fatalf("cannot start QEMU: %v", err)
		}
		m := &machine{VM: vm, started: started}
		t.Cleanup(func() {
			m.Kill()
			if t.Failed() {
				t.Logf("console of the machine:\n%s", m.Serial())
			}
		})
		if _, err = m.await(t, `TEST guest: up`); err == nil {
			return m
		}
		if attempt == 3 || m.Serial() != "" {
			t.Fatal(err)
		}
		t.Logf("QEMU hung before the kernel printed anything: starting it again")
		m.Kill()
	}
}
