package box

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"sanstick/appliance/disk/pool"
	"sanstick/appliance/disk/transfer"
	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
)

// A volume's device may be larger than what is the volume's: nothing of the rest goes
// out.
func TestExportOfVolumeThatGrows(t *testing.T) {
	const size, whole = 1 << 20, 2 << 20
	content := bytes.Repeat([]byte("mine"), size/4)
	grown := pool.Taken{Pool: "tank", Volume: "vm1", Name: "tank/vm1", Path: filepath.Join(t.TempDir(), "device"), Size: size}
	if err := os.WriteFile(grown.Path, append(bytes.Clone(content), bytes.Repeat([]byte("of others"), whole-size)[:whole-size]...), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &box{pools: pool.New(pool.Options{})}
	with := func(do func(image.Source) error) {
		t.Helper()
		dev, err := openTaken(grown)
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		src, err := b.content(t.Context(), grown, dev)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(src); err != nil {
			t.Error(err)
		}
	}
	var sent, digests bytes.Buffer
	with(func(src image.Source) error {
		return stream.Write(&sent, stream.Header{Volume: "vm1", Size: size}, src, nil)
	})
	if n := bytes.Count(sent.Bytes(), []byte("of others")); n > 0 {
		t.Errorf("%d times what was others' was sent", n)
	}
	with(func(src image.Source) error { return image.Digests(&digests, src, nil) })
	want := image.FromImage(rawImage(t, content), 0)
	found, err := image.Compare(want, &digests, 10, nil)
	if err != nil || found.Differing > 0 || found.Bytes != size {
		t.Errorf("compared: %+v, %v", found, err)
	}
	dev, err := transfer.OpenFirst(grown.Path, size)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if n, err := dev.ReadAt(make([]byte, 8192), size-4096); err == nil {
		t.Errorf("%d bytes were read beyond the end", n)
	}
}

func rawImage(t *testing.T, content []byte) image.Image {
	t.Helper()
	i, err := image.Open(rawFile{bytes.NewReader(content)}, "", image.Raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

type rawFile struct{ *bytes.Reader }
