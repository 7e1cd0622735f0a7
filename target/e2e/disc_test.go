//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// disc has the guest read a CD with a file system, and eject it, and a medium
// that can be removed and written.
func disc(t *testing.T, r *rig) {
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "pattern"), r.pattern, 0o600); err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(t.TempDir(), "image.iso")
	run(t, "xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-R", tree)
	image, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	d := r.serve(t, "--lun", "0="+iso+",cd", "--lun", "1=mem:16M,removable", "--iqn", iqn)
	l := login{port: d.ports[0]}
	r.login(t, l)
	r.until(t, "[ -b /dev/sr0 ]")
	r.reads(t, "/dev/sr0", 0, image[:len(image)>>16<<16])
	const mounted = "mount -t iso9660 -o ro /dev/sr0 /mnt && sha256sum </mnt/pattern | cut -d' ' -f1; umount /mnt"
	if got := r.run(t, mounted); got != r.sum {
		t.Errorf("the file on the disc has the checksum %s, want %s", got, r.sum)
	}
	if got := r.run(t, "cat /sys/block/sr0/ro; sg_get_config /dev/sr0 | grep -c 'Current profile: CD-ROM'"); got != "1\n1" {
		t.Errorf("read-only, profile: %q", got)
	}
	sr, sd := r.disk(t, l, "0"), r.disk(t, l, "1")
	r.inspect(t, []query{
		{sr, "sg_inq DEV", []string{`PDT=5`, `RMB=1`}},
		{sr, "sg_vpd -a DEV", nil},
		{sr, "sg_readcap DEV", []string{`block length=2048 `}},
		{sr, "sg_modes -a DEV", nil},
		{sr, "/lib/udev/cdrom_id DEV", []string{`^ID_CDROM_MEDIA=1$`, `^ID_CDROM_MEDIA_SESSION_COUNT=1$`, `^ID_CDROM_MEDIA_TRACK_COUNT_DATA=1$`}},
		{sd, "sg_inq DEV", []string{`PDT=0`, `RMB=1`}},
	})
	// The kernel prevents removal as long as the disk is open, for sg_start too.
	if out, status := r.try(t, "sg_start --eject "+sd.dev()); status != sgIllegal {
		t.Errorf("a disk in use, ejected: exit status %d\n%s", status, out)
	}
	generic := "/dev/" + r.run(t, "ls "+sd.block()+"/device/scsi_generic")
	for _, dev := range []string{"/dev/sr0", generic} {
		r.run(t, "sg_start --eject "+dev)
		if out, status := r.try(t, "sg_turs "+dev); status != sgNotReady {
			t.Errorf("%s, ejected: exit status %d\n%s", dev, status, out)
		}
		r.run(t, "sg_start --load "+dev+" && sg_turs "+dev)
	}
	if got := r.run(t, mounted); got != r.sum {
		t.Errorf("loaded again, the file on the disc has the checksum %s, want %s", got, r.sum)
	}
	r.write(t, sd.dev(), 0)
	r.reads(t, sd.dev(), 0, r.pattern)
	if got := r.run(t, "cat "+sd.block()+"/removable"); got != "1" {
		t.Errorf("removable is %s", got)
	}
	r.logout(t, l)
}
