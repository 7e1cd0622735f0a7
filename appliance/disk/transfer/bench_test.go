package transfer

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sanstick/appliance/image"
)

// BenchmarkImport copies a raw file into another one as an import does, and has
// dd do the same, in turn: "x-of-dd" is the median of the ratios of their
// speeds. TMPDIR says on which disk.
func BenchmarkImport(b *testing.B) {
	const size = 512 << 20
	dir := b.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	data := make([]byte, size)
	rand.Read(data)
	for _, f := range []string{src, dst} { // the blocks of both are there
		if err := os.WriteFile(f, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	data = nil
	b.SetBytes(size)
	var ratios []float64
	for b.Loop() {
		began := time.Now()
		out, err := exec.Command("dd", "if="+src, "of="+dst, "bs=4M", "oflag=direct", "conv=fsync,notrunc").CombinedOutput()
		if err != nil {
			b.Fatalf("dd: %v\n%s", err, out)
		}
		dd := time.Since(began)
		began = time.Now()
		if err := importFile(b, src, dst); err != nil {
			b.Fatal(err)
		}
		ratios = append(ratios, dd.Seconds()/time.Since(began).Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-of-dd")
	b.ReportMetric(ratios[0], "worst-x")
}

func importFile(b *testing.B, src, dst string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	i, err := image.Open(osFile{f, st.Size()}, "", image.Raw, nil)
	if err != nil {
		return err
	}
	d, err := Open(dst, true)
	if err != nil {
		return err
	}
	defer d.Close()
	return copyAll(b, d, i)
}

func copyAll(b *testing.B, d Device, i image.Image) error {
	c := Copy{To: d, From: image.FromImage(i, 0), Blank: true}
	n, err := c.Run(b.Context())
	if err != nil {
		return err
	}
	return c.Finish(b.Context(), n)
}

// BenchmarkImportURL imports a qcow2 from a web server, has the same file
// fetched and thrown away, and has dd write as much, in turn: "x-of-slower" is
// the median of the ratios to the slower of the two.
func BenchmarkImportURL(b *testing.B) {
	const size = 256 << 20
	dir := b.TempDir()
	src, packed, dst := filepath.Join(dir, "src"), filepath.Join(dir, "src.qcow2"), filepath.Join(dir, "dst")
	data := make([]byte, size)
	rand.Read(data)
	for _, f := range []string{src, dst} {
		if err := os.WriteFile(f, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	if out, err := exec.Command("qemu-img", "convert", "-O", "qcow2", src, packed).CombinedOutput(); err != nil {
		b.Fatalf("qemu-img: %v\n%s", err, out)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer srv.Close()
	address := srv.URL + "/src.qcow2"
	b.SetBytes(size)
	var ratios []float64
	for b.Loop() {
		began := time.Now()
		if out, err := exec.Command("dd", "if="+src, "of="+dst, "bs=4M", "oflag=direct", "conv=fsync,notrunc").CombinedOutput(); err != nil {
			b.Fatalf("dd: %v\n%s", err, out)
		}
		slower := time.Since(began)
		began = time.Now()
		resp, err := http.Get(address)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			b.Fatal(err)
		}
		slower = max(slower, time.Since(began))
		began = time.Now()
		if err := importWeb(b, address, dst); err != nil {
			b.Fatal(err)
		}
		ratios = append(ratios, slower.Seconds()/time.Since(began).Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-of-slower")
	b.ReportMetric(ratios[0], "worst-x")
}

func importWeb(b *testing.B, address, dst string) error {
	w, err := OpenWeb(b.Context(), address, WebOptions{})
	if err != nil {
		return err
	}
	defer w.Close()
	i, err := image.Open(w, w.Name(), "", nil)
	if err != nil {
		return err
	}
	d, err := Open(dst, true)
	if err != nil {
		return err
	}
	defer d.Close()
	return copyAll(b, d, i)
}

type osFile struct {
	*os.File
	size int64
}

func (f osFile) Size() int64 { return f.size }
