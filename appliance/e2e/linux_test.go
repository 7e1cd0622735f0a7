//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sanstick/imagebuild/qemu"
)

// TestLinuxInitiator lets the Linux kernel use a LUN through open-iscsi: with
// mutual CHAP and digests, raw and through a file system, and while the target
// is killed and started again.
func TestLinuxInitiator(t *testing.T) {
	const (
		size     = 128 << 20
		chunk    = 64 << 10
		rawAt    = 80 << 20 // behind the file system
		outageAt = 100 << 20
		secret   = "a-secret-of-linux"
		mutual   = "a-secret-of-the-san"
	)
	pattern := make([]byte, 8<<20)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(pattern); err != nil {
		t.Fatal(err)
	}
	vmlinuz, initrd := linuxGuest(t, pattern)
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, size); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	d := newTargetd(t, "--lun", "0="+disk+",thin", "--listen", fmt.Sprintf("127.0.0.1:%d", port), "--iqn", iqn,
		"--initiator", linuxInitiator, "--chap", "linux:"+secret, "--mutual", "san:"+mutual)

	m := bootGuest(t, qemu.Options{
		Kernel: vmlinuz, Initrd: initrd, MemoryMiB: 512, NoReboot: true,
		Append: fmt.Sprintf("console=ttyS0 quiet panic=-1 portal=10.0.2.2:%d iqn=%s secret=%s mutual=%s raw=%d outage=%d",
			port, iqn, secret, mutual, rawAt/chunk, outageAt/chunk),
	})
	m.port = port
	if _, err := m.await(t, `TEST outage: begins`); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // let writes be under way
	d.kill(t)
	time.Sleep(time.Second) // let reconnects fail
	d.start(t)
	select {
	case <-m.Done(): // all is said: the guest has powered off
	case <-time.After(bootTime):
		t.Fatal("the guest does not come to its end")
	}
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("the guest ran for %.1f s", time.Since(m.started).Seconds())
	d.stop(t)

	console := strings.ReplaceAll(m.Serial(), "\r", "")
	facts := make(map[string]string)
	for _, f := range regexp.MustCompile(`(?m)^TEST ([a-z-]+): (.*)$`).FindAllStringSubmatch(console, -1) {
		facts[f[1]] = strings.TrimSpace(f[2])
	}
	hash := sha256.Sum256(pattern)
	sum := hex.EncodeToString(hash[:])
	for _, want := range []struct{ name, value string }{
		{"discovery", fmt.Sprintf("127.0.0.1:%d,1 %s", port, iqn)},
		{"login", "ok"},
		{"header-digest", "1"}, {"data-digest", "1"},
		{"size", strconv.Itoa(size)},
		{"write-cache", "write back"}, {"fua", "1"},
		{"raw-write", "ok"}, {"raw-read", sum},
		{"mkfs", "ok"}, {"mount", "ok"}, {"copy", "ok"}, {"fstrim", "ok"}, {"umount", "ok"}, {"fsck", "ok"},
		{"file-read", sum},
		{"outage-error", ""}, {"outage-state", "LOGGED_IN"}, {"outage-read", sum},
		{"logout", "ok"},
		{"second-login", "ok"}, {"second-header-digest", "0"}, {"second-read", sum}, {"second-logout", "ok"},
	} {
		if got := facts[want.name]; got != want.value {
			t.Errorf("the guest says %s: %q, want %q", want.name, got, want.value)
		}
	}
	for name, want := range map[string]string{
		"wrong-secret":        "authorization failure", // our target says no
		"wrong-mutual-secret": "login failure",         // the guest doesn't trust the target
	} {
		if !strings.Contains(facts[name], want) {
			t.Errorf("the guest says %s: %q, want %q in it", name, facts[name], want)
		}
	}
	if facts["discard"] == "0" || facts["discard"] == "" {
		t.Errorf("the guest can't discard: %q", facts["discard"])
	}
	kernelLog(t, console)

	data, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{rawAt, outageAt} {
		if !bytes.Equal(data[at:at+len(pattern)], pattern) {
			t.Errorf("the backing file does not hold at %d what the guest wrote there", at)
		}
	}
	run(t, "e2fsck", "-fn", disk)
	kept := filepath.Join(t.TempDir(), "kept")
	run(t, "debugfs", "-R", "dump /kept "+kept, disk)
	if got, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, pattern) {
		t.Errorf("the file system in the backing file does not hold the guest's file: %d bytes, %v", len(got), err)
	}
}

// kernelLog checks what the guest's kernel said about the disk.
func kernelLog(t *testing.T, console string) {
	t.Helper()
	_, log, _ := strings.Cut(console, "TEST dmesg: begins\n")
	log, _, whole := strings.Cut(log, "TEST dmesg: ends\n")
	if !whole {
		t.Fatal("the guest did not show its kernel's log to the end")
	}
	var disk []string
	bad := regexp.MustCompile(`I/O error|Sense Key|digest error|Aborting journal|WARNING:|BUG:|Oops|Invalid|timing out`)
	for line := range strings.Lines(log) {
		if regexp.MustCompile(`scsi|iSCSI|sd [0-9]|\[sda\]|sda|connection[0-9]|session[0-9]`).MatchString(line) {
			disk = append(disk, strings.TrimSpace(line))
			if bad.MatchString(line) {
				t.Errorf("the guest's kernel complains: %s", line)
			}
		}
	}
	said := strings.Join(disk, "\n")
	for _, want := range []string{
		"Write cache: enabled, read cache: enabled, supports DPO and FUA",
		"Synchronizing SCSI cache", // at logout
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the guest's kernel never said %q", want)
		}
	}
	t.Logf("the guest's kernel about the disk:\n%s", said)
}
