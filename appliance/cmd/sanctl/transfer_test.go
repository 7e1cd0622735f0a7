package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sanstick/appliance/api"
	"sanstick/appliance/image"
	"sanstick/appliance/image/gpt"
	"sanstick/appliance/image/stream"
	"sanstick/appliance/status"
)

// fakeVolumes is a daemon with one volume, vm1, in memory.
type fakeVolumes struct {
	volume []byte
	start  int64  // what an interrupted import has left
	broken error  // of an export, halfway
	source string // of the last import
	from   string // of the last incremental one
	asked  api.ImportRequest
}

func (f *fakeVolumes) actions() []api.Action {
	whole := func() image.Source { return image.FromSequence(bytes.NewReader(f.volume), int64(len(f.volume)), 0) }
	return []api.Action{
		api.BeginImport.Handle(func(_ context.Context, q api.ImportRequest, _ func(api.Progress)) (api.BeginImportAnswer, error) {
			f.asked = q
			if q.Source == f.source {
				return api.BeginImportAnswer{Size: q.Size, Start: f.start}, nil
			}
			f.source = q.Source
			return api.BeginImportAnswer{Size: q.Size}, nil
		}),
		api.Import.Handle(func(ctx context.Context, q api.ImportRequest, body io.Reader, _ func(api.Progress)) (a api.ImportAnswer, err error) {
			s, err := stream.NewReader(body)
			if err != nil {
				return a, err
			}
			if s.From != nil {
				f.from = s.From.UUID
				for err == nil {
					_, err = s.Next()
				}
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return api.ImportAnswer{Volume: q.Volume}, err
			}
			f.volume = f.volume[:min(int64(len(f.volume)), s.Start)]
			for src, p := s.Source(), make([]byte, image.Window); ; {
				n, zero, err := src.Next(p)
				if errors.Is(err, io.EOF) {
					return api.ImportAnswer{Volume: q.Volume, Pool: "tank", Disk: int64(len(f.volume))}, nil
				}
				if err != nil {
					return a, err
				}
				if zero {
					f.volume = append(f.volume, make([]byte, n)...)
				} else {
					f.volume = append(f.volume, p[:n]...)
				}
			}
		}),
		api.Export.Handle(func(_ context.Context, q api.ExportRequest, w io.Writer) (a api.ExportAnswer, err error) {
			h := stream.Header{Volume: q.Volume, Size: int64(len(f.volume))}
			if f.broken != nil {
				s, err := stream.NewWriter(w, h)
				return a, errors.Join(err, s.Data(0, f.volume[:1000]), f.broken)
			}
			return api.ExportAnswer{Volume: q.Volume, Size: h.Size}, stream.Write(w, h, whole(), nil)
		}),
		api.VerifyURL.Handle(func(_ context.Context, q api.VerifyRequest, _ func(api.Progress)) (api.VerifyAnswer, error) {
			if q.URL != "http://there/same" {
				return api.VerifyAnswer{Volume: q.Volume, Bytes: 1 << 20, Differing: 1 << 16, Differences: []api.Difference{{Off: 1 << 16, Len: 1 << 16}}}, nil
			}
			return api.VerifyAnswer{Volume: q.Volume, Bytes: 1 << 20, Moved: true}, nil
		}),
		api.Digests.Handle(func(_ context.Context, q api.ExportRequest, w io.Writer) (api.ExportAnswer, error) {
			return api.ExportAnswer{Volume: q.Volume, Size: int64(len(f.volume))}, image.Digests(w, whole(), nil)
		}),
	}
}

// serve runs the daemon, and returns what runs sanctl against it.
func (f *fakeVolumes) serve(t *testing.T) func(stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "api.sock")
	srv := api.New(api.Options{Socket: socket, Actions: f.actions(), Status: func(context.Context) (status.Snapshot, error) { return status.Snapshot{}, nil }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	<-srv.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(stdin io.Reader, args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append(args, "--socket", socket), stdin, &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
}

// testDisk is three windows, mostly zeros.
func testDisk() []byte {
	b := make([]byte, 3*image.Window)
	rnd := rand.NewChaCha8([32]byte{5})
	rnd.Read(b[100_000:300_000])
	rnd.Read(b[2*image.Window+7 : 2*image.Window+900_000])
	return b
}

func writeTemp(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImportFiles(t *testing.T) {
	disk := testDisk()
	raw := writeTemp(t, "disk.raw", disk)
	for _, name := range []string{"disk.qcow2", "disk.vmdk", "disk.vhdx"} {
		path := filepath.Join(filepath.Dir(raw), name)
		if out, err := exec.Command("qemu-img", "convert", "-O", filepath.Ext(name)[1:], raw, path).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img: %v (Debian package qemu-utils)\n%s", err, out)
		}
	}
	f := new(fakeVolumes)
	sanctl := f.serve(t)
	for _, name := range []string{"disk.raw", "disk.qcow2", "disk.vmdk", "disk.vhdx"} {
		f.volume, f.source = nil, ""
		path := filepath.Join(filepath.Dir(raw), name)
		if code, _, stderr := sanctl(nil, "volume", "import", "vm1", path); code != 0 || !bytes.Equal(f.volume, disk) {
			t.Errorf("%s: exit %d, %d bytes there: %s", name, code, len(f.volume), stderr)
		}
		// Interrupted, it goes on where it was.
		f.start = image.Window
		if code, _, stderr := sanctl(nil, "volume", "import", "vm1", path); code != 0 || !bytes.Equal(f.volume, disk) || !strings.Contains(stderr, "going on at 4 MiB") {
			t.Errorf("%s again: exit %d, %d bytes there: %s", name, code, len(f.volume), stderr)
		}
		if code, stdout, stderr := sanctl(nil, "volume", "verify", "vm1", path); code != 0 || !strings.Contains(stdout, "are equal") {
			t.Errorf("%s: exit %d: %s%s", name, code, stdout, stderr)
		}
	}
	f.volume, f.source = nil, ""
	if code, _, stderr := sanctl(bytes.NewReader(disk), "volume", "import", "vm1", "-", "--size", "64MiB"); code != 0 || !bytes.Equal(f.volume, disk) || f.asked.Size != 64<<20 {
		t.Errorf("a pipe: exit %d, asked %+v: %s", code, f.asked, stderr)
	}
	f.volume[2*image.Window+1000] ^= 1
	code, stdout, stderr := sanctl(nil, "volume", "verify", "vm1", raw)
	if want := fmt.Sprintf("bytes %d to %d differ", 2*image.Window, 2*image.Window+65535); code != 1 || !strings.Contains(stdout, want) {
		t.Errorf("a changed byte: exit %d: %s%s", code, stdout, stderr)
	}
	for name, args := range map[string][]string{
		"no such file": {"volume", "import", "vm1", raw + "x"},
		"a directory":  {"volume", "import", "vm1", filepath.Dir(raw)},
		"bad format":   {"volume", "import", "vm1", raw, "--format", "floppy"},
		"wrong format": {"volume", "import", "vm1", raw, "--format", "qcow2"},
		"not changes":  {"volume", "import", "vm1", raw, "--incremental"},
		"bad size":     {"volume", "import", "vm1", raw, "--size", "many"},
	} {
		if code, _, stderr := sanctl(nil, args...); code == 0 || stderr == "" {
			t.Errorf("%s: exit %d: %s", name, code, stderr)
		}
	}
}

func TestExportFiles(t *testing.T) {
	f := &fakeVolumes{volume: testDisk()}
	sanctl := f.serve(t)
	dir := t.TempDir()
	for _, args := range [][]string{nil, {"--format", "stream"}, {"--zstd"}, {"--format", "stream", "--zstd"}} {
		path := filepath.Join(dir, "out"+strings.Join(args, ""))
		if code, stdout, stderr := sanctl(nil, append([]string{"volume", "export", "vm1", "-o", path}, args...)...); code != 0 || !strings.Contains(stdout, "written") {
			t.Errorf("%v: exit %d: %s%s", args, code, stdout, stderr)
		}
		if code, _, stderr := sanctl(nil, "volume", "verify", "vm1", path); code != 0 {
			t.Errorf("%v: what was written differs: %s", args, stderr)
		}
		if code, _, stderr := sanctl(nil, append([]string{"volume", "export", "vm1", "-o", path}, args...)...); code == 0 {
			t.Errorf("%v: a file was overwritten: %s", args, stderr)
		}
	}
	if code, stdout, _ := sanctl(nil, "volume", "export", "vm1"); code != 0 || stdout != string(f.volume) {
		t.Errorf("to a pipe: exit %d, %d bytes", code, len(stdout))
	}
	f.broken = &api.Error{Message: "disk D can't be read", Do: "replace it"}
	path := filepath.Join(dir, "broken")
	for _, args := range [][]string{{"-o", path}, {"-o", path, "--format", "stream"}, nil} {
		code, _, stderr := sanctl(nil, append([]string{"volume", "export", "vm1"}, args...)...)
		if code != 1 || !strings.Contains(stderr, "disk D can't be read") {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestImportChangesOnly(t *testing.T) {
	f := &fakeVolumes{volume: testDisk()}
	sanctl := f.serve(t)
	var b bytes.Buffer
	w, err := stream.NewWriter(&b, stream.Header{Size: 1 << 20, From: &stream.Point{Name: "monday", UUID: "u-1"}, To: &stream.Point{Name: "tuesday", UUID: "u-2"}})
	if err = errors.Join(err, w.Data(4096, make([]byte, 4096)), w.Close(1<<20)); err != nil {
		t.Fatal(err)
	}
	path := writeTemp(t, "changes", b.Bytes())
	if code, _, stderr := sanctl(nil, "volume", "import", "vm1", path); code != 2 || !strings.Contains(stderr, "--incremental") {
		t.Errorf("without --incremental: exit %d: %s", code, stderr)
	}
	if code, _, stderr := sanctl(nil, "volume", "verify", "vm1", path); code == 0 {
		t.Errorf("verified: %s", stderr)
	}
	if code, _, stderr := sanctl(nil, "volume", "import", "vm1", path, "--incremental"); code != 0 || f.from != "u-1" || f.asked.From != "u-1" {
		t.Errorf("exit %d, from %q: %s", code, f.from, stderr)
	}
	cut := writeTemp(t, "cut", b.Bytes()[:b.Len()-1])
	if code, _, stderr := sanctl(nil, "volume", "import", "vm1", cut, "--incremental"); code != 1 || !strings.Contains(stderr, "cut off") {
		t.Errorf("without its end: exit %d: %s", code, stderr)
	}
}

// TestVerifyMovedGPT compares an image with a GPT to a larger volume, where the
// import has moved the backup.
func TestVerifyMovedGPT(t *testing.T) {
	path := writeTemp(t, "disk.raw", make([]byte, 6<<20))
	if out, err := exec.Command("sgdisk", "-n", "1:2048:0", path).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v (Debian package gdisk)\n%s", err, out)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	moved, fixed, err := gpt.Moved(bytes.NewReader(disk), int64(len(disk)), 16<<20)
	if err != nil || !moved {
		t.Fatalf("moved %v, error %v", moved, err)
	}
	f := &fakeVolumes{volume: make([]byte, 16<<20)}
	if _, err := fixed.ReadAt(f.volume, 0); err != nil {
		t.Fatal(err)
	}
	sanctl := f.serve(t)
	if code, stdout, stderr := sanctl(nil, "volume", "verify", "vm1", path); code != 0 || !strings.Contains(stdout, "GPT") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	f.volume[700] ^= 1 // within the header's block
	if code, stdout, _ := sanctl(nil, "volume", "verify", "vm1", path); code != 1 {
		t.Errorf("a change beside it: exit %d: %s", code, stdout)
	}
}

// The appliance compares what is on a web server; the words are the same.
func TestVerifyURL(t *testing.T) {
	sanctl := new(fakeVolumes).serve(t)
	if code, stdout, stderr := sanctl(nil, "volume", "verify", "vm1", "http://there/same"); code != 0 || !strings.Contains(stdout, "vm1 and http://there/same are equal: 1 MiB compared") || !strings.Contains(stdout, "GPT") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := sanctl(nil, "volume", "verify", "vm1", "http://there/other"); code != 1 || !strings.Contains(stdout, "bytes 65536 to 131071 differ") || !strings.Contains(stderr, "64 KiB of 1 MiB") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
}

// Changes are the same wherever they come from, so that a pipe can go on with them.
func TestChangesIdentity(t *testing.T) {
	a, b := stream.Point{UUID: "a"}, stream.Point{UUID: "b"}
	id := changesIdentity(a, &b)
	if len(id) != 16 || id != changesIdentity(stream.Point{Name: "monday", UUID: "a"}, &stream.Point{UUID: "b"}) {
		t.Errorf("%q isn't always the same", id)
	}
	for _, other := range []string{changesIdentity(b, &a), changesIdentity(a, nil), changesIdentity(a, &a)} {
		if other == id {
			t.Errorf("%q stands for other changes, too", id)
		}
	}
}
