package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/image"
)

// bytesFile is a file in memory.
type bytesFile []byte

func (b bytesFile) Size() int64 { return int64(len(b)) }
func (b bytesFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(b).ReadAt(p, off)
}

func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v (Debian package qemu-utils)\n%s", name, strings.Join(args, " "), err, out)
	}
}

// content is a disk of some 9 MiB with data that packs and data that
// doesn't, holes, zeros and an odd end.
func content() []byte {
	b := make([]byte, 9<<20+3*512)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(b[:70000])
	rnd.Read(b[2<<20 : 3<<20+1536])
	copy(b[5<<20:], bytes.Repeat([]byte("the quick brown fox "), 50_000))
	rnd.Read(b[7<<20-512 : 7<<20])
	for i := int64(7 << 20); i < 9<<20; i += 70_000 {
		rnd.Read(b[i : i+512])
	}
	rnd.Read(b[len(b)-512:])
	return b
}

func readFile(t testing.TB, path string) bytesFile {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// all reads an image as the engine does, by extents.
func all(i image.Image) ([]byte, error) {
	if i.Size() > 64<<20 {
		return nil, fmt.Errorf("%d bytes are too many", i.Size())
	}
	out := make([]byte, i.Size())
	for off := int64(0); off < i.Size(); {
		n, zero, err := i.Extent(off)
		if err != nil {
			return nil, err
		}
		if n < 1 || n > i.Size()-off {
			return nil, fmt.Errorf("extent of %d bytes at %d of %d", n, off, i.Size())
		}
		if !zero {
			for at := off; at < off+n; {
				part := min(off+n-at, 1<<20)
				if _, err := i.ReadAt(out[at:at+part], at); err != nil {
					return nil, err
				}
				at += part
			}
		}
		off += n
	}
	return out, nil
}

// TestQEMU reads what QEMU's own tool has written.
func TestQEMU(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	want := content()
	if err := os.WriteFile(src, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		format string
		args   []string
	}{
		{"raw", nil},
		{"qcow2", nil},
		{"qcow2", []string{"-o", "compat=0.10"}},
		{"qcow2", []string{"-o", "cluster_size=512"}},
		{"qcow2", []string{"-o", "cluster_size=2M"}},
		{"qcow2", []string{"-o", "preallocation=metadata"}},
		{"qcow2", []string{"-o", "preallocation=full"}},
		{"qcow2", []string{"-o", "lazy_refcounts=on"}},
		{"qcow2", []string{"-c"}},
		{"qcow2", []string{"-c", "-o", "cluster_size=4k"}},
		{"qcow2", []string{"-c", "-o", "compression_type=zstd"}},
		{"vmdk", nil},
		{"vmdk", []string{"-o", "subformat=monolithicSparse,zeroed_grain=on"}},
		{"vmdk", []string{"-o", "subformat=streamOptimized"}},
		{"vmdk", []string{"-o", "subformat=monolithicFlat"}},
		{"vmdk", []string{"-o", "subformat=twoGbMaxExtentSparse"}},
		{"vmdk", []string{"-o", "subformat=twoGbMaxExtentFlat"}},
		{"vhdx", nil},
		{"vhdx", []string{"-o", "subformat=fixed"}},
		{"vhdx", []string{"-o", "block_size=1M"}},
		{"vpc", []string{"-o", "force_size=on"}},
		{"vpc", []string{"-o", "subformat=fixed,force_size=on"}},
		{"vpc", []string{"-o", "subformat=dynamic"}},
	} {
		t.Run(tt.format+strings.Join(tt.args, ""), func(t *testing.T) {
			sub := t.TempDir()
			ext := map[string]string{"vpc": "vhd"}[tt.format]
			if ext == "" {
				ext = tt.format
			}
			name := "disk." + ext
			path := filepath.Join(sub, name)
			tool(t, "qemu-img", append(append([]string{"convert", "-t", "unsafe", "-S", "512", "-f", "raw", "-O", tt.format}, tt.args...), src, path)...)
			if _, err := os.Stat(path); err != nil { // a VMDK with its extents
				t.Fatal(err)
			}
			var sibling image.Opener = func(n string) (image.File, error) {
				return readFile(t, filepath.Join(sub, n)), nil
			}
			i, err := image.Open(readFile(t, path), name, "", sibling)
			if err != nil {
				t.Fatal(err)
			}
			if i.Format() != ext {
				t.Errorf("format %s", i.Format())
			}
			got, err := all(i)
			if err != nil {
				t.Fatal(err)
			}
			// QEMU rounds sizes up for VHD's geometry.
			if len(got) < len(want) || ext != "vhd" && len(got) != len(want) {
				t.Errorf("size %d, want %d", len(got), len(want))
			}
			if !bytes.Equal(got[:len(want)], want) || len(bytes.Trim(got[len(want):], "\x00")) != 0 {
				t.Error("content differs")
			}
			// The same in pieces that begin and end anywhere.
			rnd := rand.New(rand.NewPCG(1, 2))
			p := make([]byte, 3<<20)
			for range 50 {
				off := rnd.Int64N(int64(len(want)))
				part := p[:min(rnd.Int64N(int64(len(p))), int64(len(want))-off)]
				if _, err := i.ReadAt(part, off); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(part, want[off:off+int64(len(part))]) {
					t.Fatalf("%d bytes at %d differ", len(part), off)
				}
			}
			truncated(t, readFile(t, path), name, sibling, got)
		})
	}
}

// truncated fails if an image that lacks its end reads like a whole one with
// other content.
func truncated(t *testing.T, whole bytesFile, name string, sibling image.Opener, want []byte) {
	t.Helper()
	if filepath.Ext(name) == ".raw" {
		return // nobody can know
	}
	for cut := 1; cut < len(whole); cut = cut*7 + 7 {
		i, err := image.Open(whole[:len(whole)-cut], name, filepath.Ext(name)[1:], sibling)
		if err != nil {
			continue
		}
		if got, err := all(i); err == nil && !bytes.Equal(got, want) {
			t.Errorf("without its last %d bytes it reads as something else", cut)
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	make := func(name string, args ...string) string {
		tool(t, "qemu-img", append(append([]string{"create", "-q"}, args...), path(name))...)
		return name
	}
	base := make("base.qcow2", "-f", "qcow2", "-o", "size=1M")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", path(base), "-F", "qcow2", path("over.qcow2"))
	baseV := path("base.vmdk")
	tool(t, "qemu-img", "create", "-q", "-f", "vmdk", baseV, "1M")
	tool(t, "qemu-img", "create", "-q", "-f", "vmdk", "-b", baseV, "-F", "vmdk", path("over.vmdk"))
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", path("sub.qcow2"), "1M")
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+path("data"), path("ext.qcow2"), "1M")
	luks := []string{"create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", path("luks.qcow2"), "1M"}
	for range 5 { // it measures the processor, which may be busy with something else
		if exec.Command("qemu-img", luks...).Run() == nil {
			break
		}
	}
	tool(t, "qemu-img", luks...)
	write := func(name, text string) {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("away.vmdk", "# Disk DescriptorFile\nRW 2048 FLAT \"/etc/shadow\" 0\n")
	write("up.vmdk", "# Disk DescriptorFile\nRW 2048 FLAT \"../x\" 0\n")
	write("se.vmdk", "# Disk DescriptorFile\nRW 2048 SESPARSE \"base.vmdk\"\n")
	write("short.vmdk", "# Disk DescriptorFile\nRW 999999 FLAT \"se.vmdk\" 0\n")
	write("huge.vmdk", "# Disk DescriptorFile\nRW 9223372036854775807 ZERO\n")
	for name, want := range map[string]string{
		"over.qcow2": "backing file (\"" + path(base) + "\")",
		"over.vmdk":  "differs from a parent",
		"sub.qcow2":  "extended_l2",
		"ext.qcow2":  "in another file",
		"luks.qcow2": "encrypted",
		"away.vmdk":  "not beside it",
		"up.vmdk":    "not beside it",
		"se.vmdk":    "SESPARSE",
		"short.vmdk": "truncated",
		"huge.vmdk":  "not allowed",
	} {
		_, err := image.Open(readFile(t, path(name)), name, "", func(n string) (image.File, error) {
			return readFile(t, path(n)), nil
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", name, err, want)
		}
	}
	if _, err := image.Open(bytesFile("x"), "x", "floppy", nil); err == nil || !strings.Contains(err.Error(), "qcow2") {
		t.Errorf("unknown format: error %v", err)
	}
}

// TestVHDXLog sets the log's GUID by hand, as a host that is killed leaves it:
// the headers' sums are wrong then, until they are made right.
func TestVHDXLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.vhdx")
	tool(t, "qemu-img", "create", "-q", "-f", "vhdx", path, "8M")
	b := readFile(t, path)
	for _, at := range []int{64 << 10, 128 << 10} {
		b[at+48] = 1
	}
	if _, err := image.Open(b, "", "", nil); err == nil || !strings.Contains(err.Error(), "neither of its headers") {
		t.Errorf("wrong sums: error %v", err)
	}
	for _, at := range []int{64 << 10, 128 << 10} {
		image.Seal(b[at : at+4096])
	}
	if _, err := image.Open(b, "", "", nil); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("a log to replay: error %v", err)
	}
}

// holey is a raw file with holes.
type holey struct{ bytesFile }

func (h holey) NextData(off int64) (int64, int64, error) {
	switch {
	case off < 2000:
		return max(off, 1000), 2000, nil
	case off < 5000:
		return max(off, 4000), 5000, nil
	}
	return h.Size(), h.Size(), nil
}

func TestRawHoles(t *testing.T) {
	data := make(bytesFile, 8192)
	rand.NewChaCha8([32]byte{}).Read(data[1000:2000])
	rand.NewChaCha8([32]byte{}).Read(data[4000:5000])
	i, err := image.Open(holey{data}, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := all(i)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("error %v, equal %v", err, bytes.Equal(got, data))
	}
	type extent struct {
		N    int64
		Zero bool
	}
	var extents []extent
	for off := int64(0); off < i.Size(); {
		n, zero, err := i.Extent(off)
		if err != nil {
			t.Fatal(err)
		}
		extents = append(extents, extent{n, zero})
		off += n
	}
	if diff := cmp.Diff([]extent{{1000, true}, {1000, false}, {2000, true}, {1000, false}, {3192, true}}, extents); diff != "" {
		t.Errorf("extents (-want +got):\n%s", diff)
	}
}

func TestSequence(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	want := content()[:6<<20]
	if err := os.WriteFile(src, want, 0o600); err != nil {
		t.Fatal(err)
	}
	pack := func(name string, args ...string) []byte {
		out, err := exec.Command(name, append(args, src)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return out
	}
	qcow := filepath.Join(dir, "q")
	tool(t, "qemu-img", "convert", "-O", "qcow2", src, qcow)
	tool(t, "gzip", "-k", qcow)
	packed := map[string][]byte{
		image.Raw:  want,
		image.Gzip: pack("gzip", "-c"),
		image.Zstd: pack("zstd", "-c", "-q"),
		image.XZ:   pack("xz", "-c", "-1"),
	}
	for format, data := range packed {
		t.Run(format, func(t *testing.T) {
			s, err := image.NewSequence(bytes.NewReader(data), "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.Format != format {
				t.Errorf("format %q", s.Format)
			}
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("error %v, equal %v", err, bytes.Equal(got, want))
			}
			if format == image.Raw {
				return
			}
			for _, n := range []int{len(data) - 1, len(data) / 2} {
				s, err := image.NewSequence(bytes.NewReader(data[:n]), "")
				if err != nil {
					continue
				}
				if _, err := io.Copy(io.Discard, s); err == nil {
					t.Errorf("%d of %d bytes are taken for everything", n, len(data))
				}
				s.Close()
			}
		})
	}
	for name, tt := range map[string]struct{ data, format, want string }{
		"container":         {string(readFile(t, qcow)), "", "here and there"},
		"container in gz":   {string(readFile(t, qcow+".gz")), "", "here and there"},
		"container by name": {"x", image.VHDX, "here and there"},
		"nothing":           {"", "", "empty"},
	} {
		if _, err := image.NewSequence(strings.NewReader(tt.data), tt.format); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
	if s, err := image.NewSequence(bytes.NewReader(readFile(t, qcow)), image.Raw); err != nil {
		t.Errorf("a container named raw: %v", err)
	} else if got, _ := io.ReadAll(s); !bytes.Equal(got, readFile(t, qcow)) {
		t.Error("a container named raw isn't taken as it is")
	}
}

// FuzzOpen wants no panic and no memory beyond bounds, whatever the file.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	src := filepath.Join(dir, "src")
	if err := os.WriteFile(src, content()[7<<20-1024:7<<20], 0o600); err != nil {
		f.Fatal(err)
	}
	for i, args := range [][]string{
		{"qcow2"}, {"qcow2", "-c", "-o", "cluster_size=512"}, {"qcow2", "-c", "-o", "compression_type=zstd"},
		{"vmdk"}, {"vmdk", "-o", "subformat=streamOptimized"}, {"vpc"}, {"vpc", "-o", "subformat=fixed"},
	} {
		path := filepath.Join(dir, fmt.Sprint(i))
		tool(f, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O"}, args...), src, path)...)
		f.Add([]byte(readFile(f, path)), "")
	}
	f.Add([]byte("# Disk DescriptorFile\nparentCID=ffffffff\nRW 4 FLAT \"a\" 0\nRW 8 ZERO\nRW 1 SPARSE \"b\"\n"), "")
	f.Add([]byte("x"), image.VHDX)
	f.Fuzz(func(t *testing.T, data []byte, format string) {
		i, err := image.Open(bytesFile(data), "x.vhd", format, func(string) (image.File, error) { return bytesFile(data), nil })
		if err != nil {
			return
		}
		var p [70000]byte
		for off, calls := int64(0), 0; off < i.Size() && calls < 50; calls++ {
			n, zero, err := i.Extent(off)
			if err != nil {
				return
			}
			if n < 1 || n > i.Size()-off {
				t.Fatalf("extent of %d bytes at %d of %d", n, off, i.Size())
			}
			part := p[:min(n, int64(len(p)))]
			got, err := i.ReadAt(part, off)
			if err == nil && (got != len(part) || zero && len(bytes.Trim(part, "\x00")) != 0) {
				t.Fatalf("read %d of %d bytes at %d, zero %v", got, len(part), off, zero)
			}
			off += n
		}
	})
}

// FuzzSequence is for the streams.
func FuzzSequence(f *testing.F) {
	f.Add([]byte("\x1f\x8bxxxxxxxxxxxxx"))
	f.Add([]byte("\xfd7zXZ\x00xxxxxxxxx"))
	f.Add([]byte("\x28\xb5\x2f\xfdxxxxxxxxx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := image.NewSequence(bytes.NewReader(data), "")
		if err != nil {
			return
		}
		defer s.Close()
		_, err = io.CopyN(io.Discard, s, 4<<20)
		_ = errors.Is(err, io.EOF)
	})
}
