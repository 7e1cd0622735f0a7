//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
	"sanstick/imagebuild/stick"
	"sanstick/target/iscsitest"
)

const (
	image    = "../../build/sanstick.img"
	isoImage = "../../build/sanstick.iso"
	bootTime = 5 * time.Minute // generous: two cores under TCG may be shared
	diskSize = 2 << 30
	serial1  = "E2E-DISK-1"
	serial2  = "E2E-DISK-2"
	iqn      = "iqn.2006-12.test.sanstick:vm1"
	iqnCHAP  = "iqn.2006-12.test.sanstick:vm2"
)

// site is what stays between boots: a stick and disks, as files.
type site struct {
	dir      string
	stick    string
	disks    []qemu.Disk
	cd       string        // an image in a CD drive
	firmware qemu.Firmware // a BIOS if empty
	bus      qemu.Bus      // of the stick; USB if empty
}

// newSite makes a stick with the given configuration and two blank disks.
func newSite(t *testing.T, toml string) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	s.configure(t, toml)
	for _, serial := range []string{serial1, serial2} {
		s.disks = append(s.disks, s.disk(t, serial, diskSize, qemu.Virtio))
	}
	return s
}

// disk returns the disk with a serial number: the one that there is, or a blank one
// of size bytes.
func (s *site) disk(t *testing.T, serial string, size int64, bus qemu.Bus) qemu.Disk {
	t.Helper()
	path := filepath.Join(s.dir, serial+".img")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return qemu.Disk{Path: path, Serial: serial, Bus: bus}
}

// configure makes a fresh stick with the given configuration.
func (s *site) configure(t *testing.T, toml string) {
	t.Helper()
	if err := stick.WithConfig(image, s.stick, []byte(toml)); err != nil {
		t.Fatalf("%v (make image builds it)", err)
	}
}

var firstSector = regexp.MustCompile(`First sector: (\d+)`)

// edit replaces appliance.toml on the stick and leaves all else there as it
// is, the way a person does on another PC.
func (s *site) edit(t *testing.T, toml string) {
	t.Helper()
	match := firstSector.FindStringSubmatch(run(t, "sgdisk", "-i", "3", s.stick))
	if match == nil {
		t.Fatal("sgdisk doesn't tell where the partition SANSTICK begins")
	}
	sector, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "appliance.toml")
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-o", "-i", fmt.Sprintf("%s@@%d", s.stick, sector*512), file, "::appliance.toml")
}

// machine is a site that is switched on.
type machine struct {
	*qemu.VM
	port     int
	started  time.Time
	commands int // typed at the shell so far
}

// boot switches the machine on with the given disks. It is killed when the
// test ends.
func (s *site) boot(t *testing.T, disks ...qemu.Disk) *machine {
	t.Helper()
	port := freePort(t)
	started := time.Now()
	vm, err := qemu.Start(t.Context(), qemu.Options{
		Stick:     s.stick,
		StickBus:  s.bus,
		CD:        s.cd,
		Firmware:  s.firmware,
		Disks:     disks,
		MemoryMiB: 512,
		Accel:     qemu.TCG,
		Ports:     []qemu.Forward{{Host: port, Guest: 3260}},
		SMBIOS:    []string{fmt.Sprintf("sanstick.portal=127.0.0.1:%d", port)},
	})
	if err != nil {
		t.Fatalf("cannot start QEMU: %v", err)
	}
	m := &machine{VM: vm, port: port, started: started}
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			t.Logf("console of the machine:\n%s", m.Serial())
		}
	})
	return m
}

// url is how initiators write LUN 0 of target iqn.
func (m *machine) url(iqn string) string {
	return fmt.Sprintf("iscsi://127.0.0.1:%d/%s/0", m.port, iqn)
}

// awaitLUN waits until the target lets an initiator in, and returns how long
// that took from the start of QEMU. The first command follows by libiscsi.
func (m *machine) awaitLUN(t *testing.T, iqn string) time.Duration {
	t.Helper()
	deadline := time.Now().Add(bootTime)
	for time.Now().Before(deadline) {
		if m.tryLogin(t.Context(), iqn) == nil {
			took := time.Since(m.started)
			run(t, "iscsi-readcapacity16", m.url(iqn))
			return took
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%s did not answer within %v of waiting", iqn, bootTime)
	return 0
}

// tryLogin logs in once. It doesn't wait long: QEMU accepts connections before
// the machine does.
func (m *machine) tryLogin(ctx context.Context, iqn string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := iscsitest.Dial(ctx, fmt.Sprintf("127.0.0.1:%d", m.port))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Login(iscsitest.Names("iqn.2006-12.test.sanstick:waiting", iqn)...)
	return err
}

// await waits until the console has shown pattern, however long ago, and
// returns what its first group matched.
func (m *machine) await(t *testing.T, pattern string) (string, error) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.Now().Add(bootTime)
	for ended := false; ; {
		if match := re.FindStringSubmatch(m.Serial()); match != nil {
			return match[len(match)-1], nil
		}
		if ended {
			return "", fmt.Errorf("the machine ended before it said %q", pattern)
		}
		select {
		case <-m.Done():
			ended = true // it may have said it at the very end
		case <-t.Context().Done():
			return "", t.Context().Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the console never said %q", pattern)
		}
	}
}

// shell runs a command at the machine's emergency shell and returns what it
// printed.
func (m *machine) shell(t *testing.T, command string) string {
	t.Helper()
	if m.commands == 0 {
		if _, err := m.await(t, `[Pp]ress Enter for a shell`); err != nil {
			t.Fatal(err)
		}
		// When the network is up, less is said in between.
		if _, err := m.await(t, `\n  address: `); err != nil {
			t.Fatal(err)
		}
		m.send(t, "")
	}
	m.commands++
	n := m.commands
	// The echo of this line has quotes in its marks, so only the output
	// matches.
	m.send(t, fmt.Sprintf(`echo BEG''IN-%d; %s; echo EN''D-%d`, n, command, n))
	// With the prompt behind it: what is typed earlier may be thrown away.
	out, err := m.await(t, fmt.Sprintf(`(?s)BEGIN-%d(.*?)END-%d.*\$ `, n, n))
	if err != nil {
		t.Fatalf("no answer to %q at the shell: %v", command, err)
	}
	return strings.ReplaceAll(out, "\r", "")
}

func (m *machine) send(t *testing.T, line string) {
	t.Helper()
	if err := m.Type(line); err != nil {
		t.Fatalf("cannot type at the console: %v", err)
	}
}

// status is what sanctl on the machine says. Log lines may come in between on
// the same console, so it is asked again if it can't be read.
func (m *machine) status(t *testing.T) status.Snapshot {
	t.Helper()
	var out string
	var err error
	for range 3 {
		out = m.shell(t, "sanctl status --json")
		var s status.Snapshot
		start := max(0, strings.Index(out, "\n{"))
		if err = json.NewDecoder(strings.NewReader(out[start:])).Decode(&s); err == nil {
			return s
		}
	}
	t.Fatalf("cannot read the status: %v\n%s", err, out)
	return status.Snapshot{}
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

// freePort finds a port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
