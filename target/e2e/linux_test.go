//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// scenarios are what Linux does with the target, in this order, in one guest.
// Each has a targetd of its own and leaves no session behind.
var scenarios = []struct {
	name string
	run  func(*testing.T, *rig)
	// excuse matches the complaints that the guest's kernel may make.
	excuse string
}{
	{"discovery", discovery, refused},
	{"found and redirected", found, refused},
	{"CHAP", chap, refused},
	{"digests", digests, ""},
	{"inventory", inventory, ""},
	{"commands", commands, ""},
	{"copies", copies, ""},
	{"unmap", unmap, ""},
	{"large", large, ""},
	{"reservations", reservations, outage},
	{"live changes", live, `LUN assignments on this target have changed|\[sdb\].*(failed|FAILED|Illegal Request)|error, dev sdb`},
	{"grow", grow, ""},
	{"read-only", readOnly, ""},
	{"disc", disc, ""},
	{"reset", reset, ""},
	{"ext4", ext4, outage},
	{"xfs", xfs, outage},
	{"multipath", multipath, outage + `|(I/O|Buffer) error.*\bsd[a-z]|Failing path|rejecting I/O to offline device|blocked FC|recovery timed out|DID_TRANSPORT|alua: rtpg failed|Could not failover`},
	{"cycles", cycles, ""},
}

// What the kernel says when a login is refused, and when a connection breaks.
const (
	refused = `conn error \(1020\)`
	outage  = `conn error \(10(11|19|20|22)\)|ping timeout`
)

// TestLinux has the Linux kernel and the tools that come with it use targetd.
func TestLinux(t *testing.T) {
	pattern := make([]byte, 4*mib)
	if _, err := rand.NewChaCha8([32]byte{1}).Read(pattern); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(pattern)
	r := &rig{
		pattern: pattern, sum: hex.EncodeToString(hash[:]),
		program: filepath.Join(t.TempDir(), "targetd"),
	}
	run(t, "go", "build", "-o", r.program, "sanstick/target/cmd/targetd")
	start := time.Now()
	r.guest = boot(t, pattern)
	r.run(t, "dmesg -c")
	t.Logf("the guest was up in %.1f s", time.Since(start).Seconds())
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			defer r.tidy(t, s.excuse)
			s.run(t, r)
		})
	}
	t.Logf("the guest ran for %.1f s", time.Since(start).Seconds())
	if r.complained != nil { // again, at the end, where one looks
		t.Logf("the guest's kernel complained:\n%s", strings.Join(r.complained, "\n"))
	}
}

const iqn = "iqn.2006-12.test.sanstick:e2e"

// rig is what the scenarios have.
type rig struct {
	*guest
	program string // targetd
	pattern []byte // in the guest it is the file /pattern
	sum     string // of the pattern, SHA-256
}

const mib = 1 << 20

// sparse makes a backing file for a LUN.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a program of the host and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
