//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"sanstick/imagebuild/qemu"
)

const (
	bootTime    = 2 * time.Minute // generous: two cores under TCG may be shared
	commandTime = 2 * time.Minute
	gateway     = "10.0.2.2" // 127.0.0.1 of the host, as the guest sees it
)

// guest is a Linux machine with a shell that the test commands.
type guest struct {
	vm      *qemu.VM
	shell   net.Conn
	answers *bufio.Reader
	lost    bool // the shell no longer answers

	complained []string // what failed tests, with their names
}

// boot starts a guest. It ends with the test. Once in some thirty times QEMU's
// emulation hangs before the kernel prints a byte, which says nothing about a
// target: then it is started again.
func boot(t *testing.T, pattern []byte) *guest {
	t.Helper()
	vmlinuz, initrd := makeInitramfs(t, pattern)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for attempt := 1; ; attempt++ {
		vm, err := qemu.Start(t.Context(), qemu.Options{
			Kernel: vmlinuz, Initrd: initrd, MemoryMiB: 768, NoReboot: true,
			Append: fmt.Sprintf("console=ttyS0 cryptomgr.notests panic=-1 shell=%d", l.Addr().(*net.TCPAddr).Port),
		})
		if err != nil {
			t.Fatalf("cannot start QEMU: %v", err)
		}
		g := &guest{vm: vm}
		t.Cleanup(func() {
			vm.Kill()
			if t.Failed() && (g.lost || g.shell == nil) {
				t.Logf("console of the guest:\n%s", vm.Serial())
			}
		})
		if g.shell, err = accept(l.(*net.TCPListener), vm); err == nil {
			t.Cleanup(func() { g.shell.Close() })
			g.answers = bufio.NewReader(g.shell)
			return g
		}
		if attempt == 3 || vm.Serial() != "" {
			t.Fatalf("the guest doesn't come up: %v", err)
		}
		t.Logf("QEMU hung before the kernel printed anything: starting it again")
		vm.Kill()
	}
}

// accept waits for the shell of a machine.
func accept(l *net.TCPListener, vm *qemu.VM) (net.Conn, error) {
	for start := time.Now(); ; {
		if err := l.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		c, err := l.Accept()
		if err == nil {
			return c, nil
		}
		select {
		case <-vm.Done():
			return nil, vm.Wait()
		default:
		}
		if waited := time.Since(start); waited > bootTime || waited > bootTime/4 && vm.Serial() == "" {
			return nil, err
		}
	}
}

// try has the guest's shell run a command, and returns what it printed, without
// spaces around, and its exit status.
func (g *guest) try(t *testing.T, command string) (out string, status int) {
	t.Helper()
	if g.lost {
		t.Fatal("the guest's shell was lost before")
	}
	lose := func(err error) {
		t.Helper()
		g.lost = true
		t.Fatalf("the guest's shell is lost at %q: %v", command, err)
	}
	if err := g.shell.SetDeadline(time.Now().Add(commandTime)); err != nil {
		lose(err)
	}
	if _, err := fmt.Fprintf(g.shell, "( %s\n) </dev/null >/run/out 2>&1; echo $? $(stat -c %%s /run/out); cat /run/out\n", command); err != nil {
		lose(err)
	}
	line, err := g.answers.ReadString('\n')
	if err != nil {
		lose(err)
	}
	var size int
	if _, err := fmt.Sscan(line, &status, &size); err != nil || size > 1<<20 {
		lose(fmt.Errorf("it says %q: %w", line, err))
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(g.answers, text); err != nil {
		lose(err)
	}
	return strings.TrimSpace(string(text)), status
}

// run is try for what must succeed.
func (g *guest) run(t *testing.T, command string) string {
	t.Helper()
	out, status := g.try(t, command)
	if status != 0 {
		t.Fatalf("%s: exit status %d\n%s", command, status, out)
	}
	return out
}

// background has the guest's shell run a command while the test goes on, until
// the function that it returns is called; the command has to end soon when
// there is a file /run/stop. What it printed is returned.
func (g *guest) background(t *testing.T, command string) (stop func() string) {
	t.Helper()
	g.run(t, fmt.Sprintf("rm -f /run/stop; ( %s\n) >/run/background 2>&1 & echo $! >/run/background.pid", command))
	return func() string {
		t.Helper()
		return g.run(t, "touch /run/stop; n=0; while kill -0 $(cat /run/background.pid) 2>/dev/null; do "+
			"n=$((n+1)); [ $n -lt 1000 ] || { echo it does not end; exit 1; }; usleep 50000; done; cat /run/background")
	}
}

// until has the guest wait until a command succeeds.
func (g *guest) until(t *testing.T, command string) {
	t.Helper()
	g.run(t, fmt.Sprintf("n=0; until %s; do n=$((n+1)); [ $n -lt 600 ] || { echo it never comes; exit 1; }; usleep 50000; done", command))
}

// complaints are what the kernel must not say without a reason.
var complaints = regexp.MustCompile(`(?i)error|Sense Key|Aborting journal|WARNING|BUG:|Oops|Invalid|timing out|fail|unexpected|corrupt|offline`)

// kernelLog fails the test for complaints of the guest's kernel, since it was
// last asked, that don't match excuse ("" = none).
func (g *guest) kernelLog(t *testing.T, excuse string) {
	t.Helper()
	log := g.run(t, "dmesg -c")
	before := t.Failed()
	for line := range strings.Lines(log) {
		if complaints.MatchString(line) && (excuse == "" || !regexp.MustCompile(excuse).MatchString(line)) {
			t.Errorf("the guest's kernel complains: %s", strings.TrimSpace(line))
			g.complained = append(g.complained, t.Name()+": "+strings.TrimSpace(line))
		}
	}
	if t.Failed() && !before {
		t.Logf("the guest's kernel said:\n%s", log)
	}
}
