package target_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"sanstick/target"
	"sanstick/target/block/filedev"
	"sanstick/target/scsi"
)

// A PC boots from a disc whose commands QEMU passes through to the target
// (scsi-block), and reads a file on it.
func TestBootFromDisc(t *testing.T) {
	t.Parallel()
	const marker = "this is on the disc"
	addr := serveDisc(t, makeISO(t, marker))
	out, err := try(t, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-m", "128", "-nodefaults", "-no-reboot",
		"-display", "none", "-serial", "stdio",
		"-drive", "file=iscsi://"+addr+"/"+openIQN+"/0,format=raw,if=none,id=cd",
		"-device", "virtio-scsi-pci", "-device", "scsi-block,drive=cd")
	if err != nil {
		t.Error(err)
	}
	contains(t, out, marker)
	contains(t, run(t, "iscsi-inq", "iscsi://"+addr+"/"+openIQN+"/0"), "Peripheral Device Type:MMC", "Removable:1")
}

// makeISO makes a bootable image that prints a file of its own on the serial
// port and turns the machine off.
func makeISO(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "grub.cfg")
	for name, content := range map[string]string{
		config:                           "serial --unit=0\nterminal_output serial\ncat /text\nhalt\n",
		filepath.Join(tree, "text"):      text + "\n",
		filepath.Join(tree, "filler"):    string(make([]byte, 1<<20)),
		filepath.Join(tree, "last file"): "the end",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "grub-mkimage", "-O", "i386-pc-eltorito", "-o", filepath.Join(tree, "core.img"), "-p", "/", "-c", config,
		"biosdisk", "iso9660", "serial", "terminal", "cat", "halt")
	iso := filepath.Join(dir, "image.iso")
	run(t, "xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-b", "core.img", "-no-emul-boot", "-boot-load-size", "4",
		"-boot-info-table", tree)
	return iso
}

// serveDisc serves an image as LUN 0 of a target and returns the address.
func serveDisc(t *testing.T, iso string) string {
	t.Helper()
	file, err := filedev.Open(iso, filedev.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	unit, err := scsi.NewUnit(file, scsi.UnitOptions{Disc: true, Identity: scsi.Identity{Serial: "DISC", NAA: scsi.NAAFromUUID("disc")}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = srv.Add(target.Config{IQN: openIQN, LUNs: []target.LUN{{Number: 0, Unit: unit}}, Initiators: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := unit.Close(); err != nil {
			t.Error(err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
