package transfer

import (
	"crypto/rand"
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
	c := Copy{To: d, From: image.FromImage(i, 0), Blank: true}
	n, err := c.Run(b.Context())
	if err != nil {
		return err
	}
	return c.Finish(b.Context(), n)
}

type osFile struct {
	*os.File
	size int64
}

func (f osFile) Size() int64 { return f.size }
