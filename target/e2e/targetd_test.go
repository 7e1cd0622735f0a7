//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// targetd is the target as a process on the host, which can be killed and
// started again at the same ports.
type targetd struct {
	program string
	args    []string
	ports   [2]int
	cmd     *exec.Cmd // nil while it doesn't run
	out     output
}

// serve starts targetd at two portals, with the given arguments beside those.
// It ends with the test.
func (r *rig) serve(t *testing.T, args ...string) *targetd {
	t.Helper()
	d := &targetd{program: r.program, args: args, ports: [2]int{freePort(t), freePort(t)}}
	for _, port := range d.ports {
		d.args = append(d.args, "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	}
	d.begin(t)
	return d
}

// serveConfig is serve with a configuration file, which names those ports.
func (r *rig) serveConfig(t *testing.T, path string, ports [2]int) *targetd {
	t.Helper()
	d := &targetd{program: r.program, args: []string{"--config", path}, ports: ports}
	d.begin(t)
	return d
}

// writeConfig makes a configuration file.
func writeConfig(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "targetd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// begin starts it for the first time.
func (d *targetd) begin(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if d.cmd != nil {
			d.stop(t)
		}
		if said := d.out.String(); regexp.MustCompile(`level=ERROR|panic`).MatchString(said) {
			t.Errorf("targetd complains")
		}
		if t.Failed() {
			t.Logf("targetd said:\n%s", d.out.String())
		}
	})
	d.start(t)
}

// start starts it and waits until it serves.
func (d *targetd) start(t *testing.T) {
	t.Helper()
	before := strings.Count(d.out.String(), "serving ")
	d.cmd = exec.Command(d.program, d.args...)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		d.cmd = nil
		t.Fatal(err)
	}
	for range 500 {
		if strings.Count(d.out.String(), "serving ") >= before+len(d.ports) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("targetd does not serve")
}

// kill ends it the hard way.
func (d *targetd) kill(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		t.Errorf("cannot kill targetd: %v", err)
	}
	_ = d.cmd.Wait() // says that it was killed
	d.cmd = nil
}

// stop ends it the way Ctrl-C does.
func (d *targetd) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("cannot stop targetd: %v", err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("targetd ended badly: %v", err)
	}
	d.cmd = nil
}

// output collects what a process prints while others read it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// freePort finds a port of 127.0.0.1 that nobody listens on, and that no
// connection gets for its own end: it has to be free again later.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
