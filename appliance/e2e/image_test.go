//go:build e2e

package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxImage is the largest that the image may be, in bytes.
const maxImage = 80_000_000

// TestImage has foreign programs look at the image as it is written to a stick.
func TestImage(t *testing.T) {
	t.Parallel()
	for _, file := range []string{image, isoImage} {
		fi, err := os.Stat(file)
		if err != nil {
			t.Fatalf("%v (make image builds it)", err)
		}
		if fi.Size() > maxImage {
			t.Errorf("%s has %d bytes, more than %d", file, fi.Size(), maxImage)
		}
		t.Logf("%s: %d bytes", file, fi.Size())
		if out := run(t, "sgdisk", "-v", file); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v %s:\n%s", file, out)
		}
	}
	dir := t.TempDir()
	for _, part := range []int{2, 3} {
		volume := filepath.Join(dir, fmt.Sprint(part))
		extract(t, image, part, volume)
		if out := strings.TrimSpace(run(t, "fsck.fat", "-n", volume)); strings.Count(out, "\n") != 1 {
			t.Errorf("fsck.fat of partition %d complains:\n%s", part, out)
		}
	}
	signed(t, filepath.Join(dir, "2"))
}

// signed checks the chain that Secure Boot goes along: Microsoft's signature is on shim, and the certificate in shim
// verifies what comes after it.
func signed(t *testing.T, volume string) {
	t.Helper()
	dir := t.TempDir()
	get := func(name string) string {
		file := filepath.Join(dir, filepath.Base(name))
		run(t, "mcopy", "-n", "-i", volume, "::"+name, file)
		return file
	}
	shim := get("EFI/BOOT/BOOTX64.EFI")
	if out := run(t, "sbverify", "--list", shim); !strings.Contains(out, "Microsoft Corporation UEFI CA 2011") {
		t.Errorf("shim isn't signed by Microsoft:\n%s", out)
	}
	run(t, "sbverify", shim)
	cert := filepath.Join(dir, "vendor.pem")
	if err := os.WriteFile(cert, vendorCert(t, shim), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi", "a/vmlinuz"} {
		if out := run(t, "sbverify", "--cert", cert, get(name)); !strings.Contains(out, "verification OK") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// vendorCert finds Debian's certificate in shim, as PEM.
func vendorCert(t *testing.T, shim string) []byte {
	t.Helper()
	data, err := os.ReadFile(shim)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; at += 4 {
		next := bytes.Index(data[at:], []byte{0x30, 0x82}) // a DER sequence with a length of two bytes
		if next < 0 {
			t.Fatal("there is no certificate of Debian's in shim")
		}
		at += next
		end := at + 4
		if end < len(data) {
			end += int(binary.BigEndian.Uint16(data[at+2:]))
		}
		if end > len(data) {
			continue
		}
		if c, err := x509.ParseCertificate(data[at:end]); err == nil && c.IsCA && strings.Contains(c.Subject.CommonName, "Debian") {
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		}
	}
}
