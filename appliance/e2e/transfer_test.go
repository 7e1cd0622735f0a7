//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sanstick/target/iscsitest"
)

const transferTOML = `
hostname = "attic"

[[pool]]
name   = "tank"
disks  = ["` + serial1 + `", "` + serial2 + `"]
layout = "mirror"

[[volume]]
name = "vm1"
pool = "tank"
size = "64MiB"

[[volume]]
name = "vm2"
pool = "tank"
size = "32MiB"

[[volume]]
name = "copy"
pool = "tank"
size = "64MiB"

[[target]]
name       = "vm1"
iqn        = "` + iqn + `"
volumes    = ["vm1"]
initiators = ["*"]

[[target]]
name       = "vm2"
iqn        = "` + iqnCHAP + `"
volumes    = ["vm2"]
initiators = ["*"]

[[target]]
name       = "copy"
iqn        = "` + iqnCopy + `"
volumes    = ["copy"]
initiators = ["*"]
`

const iqnCopy = "iqn.2006-12.test.sanstick:copy"

// TestTransfer brings images in and takes exports out, with the daemon killed
// in between.
func TestTransfer(t *testing.T) {
	t.Parallel()
	s := newSite(t, transferTOML)
	web := newImages(t)
	real := filepath.Join(s.dir, "real.img")
	web.random(t, "random", 20<<20)
	run(t, "cp", web.path("random"), real)
	run(t, "sgdisk", "-Z", real)
	run(t, "sgdisk", "-n", "1:2048:0", real)
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)

	t.Run("qcow2 from a web server", func(t *testing.T) {
		run(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", real, web.path("real.qcow2"))
		a := m.imports(t, "vm1", web.url("real.qcow2"))
		if a.Format != "qcow2" || len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "GPT") {
			t.Errorf("%+v", a)
		}
		m.awaitServed(t, iqn)
		// What a partitioning program makes of the image on a larger disk, save
		// for the protective MBR, which that leaves as it is.
		want, got := filepath.Join(s.dir, "want.img"), filepath.Join(s.dir, "got.img")
		run(t, "cp", real, want)
		run(t, "truncate", "-s", "64M", want)
		run(t, "sgdisk", "-e", want)
		run(t, "qemu-img", "convert", "-t", "unsafe", "-f", "raw", "-O", "raw", m.url(iqn), got)
		run(t, "cmp", "-i", "512", want, got)
		if said := run(t, "sgdisk", "-v", got); !strings.Contains(said, "No problems found") {
			t.Errorf("the partition table: %s", said)
		}
		if out := m.succeeds(t, "sanctl volume verify vm1 "+web.url("real.qcow2")); !strings.Contains(out, "GPT") {
			t.Errorf("the image's own server: %s", out)
		}
		m.fails(t, "sanctl volume import vm1 "+web.url("real.qcow2"), "isn't empty")
		c, err := iscsitest.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", m.port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Login(iscsitest.Names("iqn.2006-12.test.sanstick:busy", iqn)...); err != nil {
			t.Fatal(err)
		}
		m.fails(t, "sanctl volume import vm1 --overwrite "+web.url("real.qcow2"), "is in use")
	})

	t.Run("the daemon dies under it", func(t *testing.T) {
		web.random(t, "slow.raw", 24<<20)
		web.rate.Store("slow.raw", 512<<10)
		m.shell(t, "sanctl volume import vm2 "+web.url("slow.raw")+" >/tmp/cut.log 2>&1 & true")
		for first := m.unserved(t, "vm2", iqnCHAP); m.unserved(t, "vm2", iqnCHAP) == first; {
			time.Sleep(time.Second) // until more is safe than nothing
		}
		m.shell(t, "kill -9 $(pidof appliance)")
		m.awaitServed(t, iqn) // the daemon is back
		m.unserved(t, "vm2", iqnCHAP)
		m.fails(t, "sanctl volume export vm2 -o /tmp/half", "isn't finished")

		web.rate.Delete("slow.raw")
		a := m.imports(t, "vm2", web.url("slow.raw"))
		if a.Resumed <= 0 || !web.asked(fmt.Sprintf("slow.raw bytes=%d-", a.Resumed)) {
			t.Errorf("resumed at %d, which the server wasn't asked for", a.Resumed)
		}
		m.awaitServed(t, iqnCHAP)
		run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", web.path("slow.raw"), m.url(iqnCHAP))
	})

	t.Run("exports, and changes", func(t *testing.T) {
		m.succeeds(t, "sanctl volume snapshot vm1 monday")
		m.succeeds(t, "sanctl volume export vm1@monday --format stream -o /tmp/monday")
		m.succeeds(t, "sanctl volume verify vm1@monday /tmp/monday")
		run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 50M 1M", "-c", "write -z 10M 2M", "-c", "flush", m.url(iqn))
		m.fails(t, "sanctl volume verify vm1 /tmp/monday", "bytes 10485760 to")
		m.fails(t, "sanctl volume verify vm1 "+web.url("real.qcow2"), "bytes 10485760 to")
		m.succeeds(t, "sanctl volume snapshot vm1 tuesday")
		out := m.succeeds(t, "sanctl volume export vm1@tuesday --since monday -o /tmp/tuesday; wc -c /tmp/tuesday")
		var size int64
		for line := range strings.Lines(out) {
			fmt.Sscanf(line, "%d /tmp/tuesday", &size)
		}
		if size < 1<<20 || size > 2<<20 {
			t.Errorf("the changes take %d bytes:\n%s", size, out)
		}
		m.fails(t, "sanctl volume import copy --incremental /tmp/tuesday", "import what comes before them")
		m.succeeds(t, "sanctl volume import copy /tmp/monday")
		m.succeeds(t, "sanctl volume import copy --incremental /tmp/tuesday")
		m.awaitServed(t, iqnCopy)
		run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", m.url(iqn), m.url(iqnCopy))
		m.fails(t, "sanctl volume import copy --incremental /tmp/tuesday", "was changed since its snapshot")
		m.fails(t, "sanctl volume import copy --overwrite /dev/null", "")
		// A file that lacks its end is none.
		m.fails(t, "head -c 1000000 /tmp/tuesday >/tmp/cut; sanctl volume import vm2 --overwrite --incremental /tmp/cut", "")
		// A volume in use is exported as of one moment, and nothing is left.
		m.succeeds(t, "sanctl volume export vm1 --format stream --zstd -o /tmp/live.zst")
		m.succeeds(t, "sanctl volume verify vm1@tuesday /tmp/live.zst")
		m.fails(t, "grep -q 'metadata doesn.t tell' /run/log/appliance.log", "")
		if lvs := m.shell(t, "lvm lvs"); strings.Contains(lvs, "export-") {
			t.Errorf("a temporary snapshot was left:\n%s", lvs)
		}
	})
	m.Kill()
}

// imported is what sanctl volume import answers.
type imported struct {
	Format  string   `json:"format"`
	Resumed int64    `json:"resumed"`
	Notes   []string `json:"notes"`
}

// imports runs sanctl volume import and returns its answer.
func (m *machine) imports(t *testing.T, volume, from string) (a imported) {
	t.Helper()
	out := m.succeeds(t, "sanctl volume import --json "+volume+" "+from)
	start := max(0, strings.Index(out, "\n{"))
	if err := json.NewDecoder(strings.NewReader(out[start:])).Decode(&a); err != nil {
		t.Fatalf("cannot read the answer: %v\n%s", err, out)
	}
	return a
}

func (m *machine) succeeds(t *testing.T, command string) string {
	t.Helper()
	out := m.shell(t, "if "+command+"; then echo WENT''-WELL; fi")
	if !strings.Contains(out, "WENT-WELL") {
		t.Fatalf("%s failed:\n%s", command, out)
	}
	return out
}

func (m *machine) fails(t *testing.T, command, words string) {
	t.Helper()
	out := m.shell(t, "if "+command+"; then echo WENT''-WELL; fi")
	if strings.Contains(out, "WENT-WELL") || !strings.Contains(strings.Join(strings.Fields(out), " "), words) {
		t.Errorf("%s: should fail with %q:\n%s", command, words, out)
	}
}

// unserved fails unless a volume under import is told of and not served, and
// returns what is told.
func (m *machine) unserved(t *testing.T, volume, iqn string) string {
	t.Helper()
	deadline := time.Now().Add(bootTime)
	for {
		for _, p := range m.status(t).Problems {
			if strings.Contains(p.What, "volume "+volume+" is being imported into") {
				if out, err := exec.Command("iscsi-readcapacity16", m.url(iqn)).CombinedOutput(); err == nil {
					t.Errorf("%s is served: %s", iqn, out)
				}
				return p.What
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the status doesn't tell of the import")
		}
	}
}

// awaitServed waits until LUN 0 of a target is there.
func (m *machine) awaitServed(t *testing.T, iqn string) {
	t.Helper()
	deadline := time.Now().Add(bootTime)
	for {
		out, err := exec.Command("iscsi-readcapacity16", m.url(iqn)).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s isn't served: %s", iqn, out)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// images is a web server on the host, which the machine sees as 10.0.2.2.
type images struct {
	dir  string
	port int
	rate sync.Map // file: bytes a second

	mu       sync.Mutex
	requests []string // file and range
}

func newImages(t *testing.T) *images {
	t.Helper()
	w := &images{dir: t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = l.Addr().(*net.TCPAddr).Port
	srv := &http.Server{Handler: w}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return w
}

func (w *images) path(name string) string { return filepath.Join(w.dir, name) }
func (w *images) url(name string) string  { return fmt.Sprintf("http://10.0.2.2:%d/%s", w.port, name) }

// asked tells whether a file was asked for with that range.
func (w *images) asked(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.requests, what)
}

// random makes a file of that name.
func (w *images) random(t *testing.T, name string, size int) {
	t.Helper()
	f, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path(name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *images) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	name := filepath.Base(r.URL.Path)
	w.mu.Lock()
	w.requests = append(w.requests, name+" "+r.Header.Get("Range"))
	w.mu.Unlock()
	http.ServeFile(&slowWriter{rw, w, name}, r, w.path(name))
}

type slowWriter struct {
	http.ResponseWriter
	w    *images
	name string
}

func (s *slowWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		part := p[n:min(len(p), n+64<<10)]
		if rate, ok := s.w.rate.Load(s.name); ok {
			time.Sleep(time.Duration(len(part)) * time.Second / time.Duration(rate.(int)))
		}
		m, err := s.ResponseWriter.Write(part)
		n += m
		if err != nil {
			return n, err
		}
	}
	return len(p), nil
}
