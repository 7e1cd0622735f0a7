package sys

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// A Loader puts modules into the kernel. Safe for concurrent use.
type Loader interface {
	// Load loads the module file at path, a .ko or a .ko.zst, with params as
	// on modprobe's command line. A module that is loaded already is no error.
	// What it depends on must be loaded before.
	Load(path, params string) error
}

// MaxModule bounds the size of a module file, packed and unpacked. Debian's
// biggest is amdgpu with 20 MB.
const MaxModule = 64 << 20

// KernelLoader is the running kernel's Loader. Make it with NewLoader.
type KernelLoader struct {
	zstd *zstd.Decoder
}

// NewLoader makes a KernelLoader.
func NewLoader() (*KernelLoader, error) {
	d, err := newModuleDecoder()
	if err != nil {
		return nil, err
	}
	return &KernelLoader{zstd: d}, nil
}

func newModuleDecoder() (*zstd.Decoder, error) {
	// Two at once keep the memory small and still use both cores of a small PC.
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxModule))
	if err != nil {
		return nil, fmt.Errorf("cannot make zstd decoder: %w", err)
	}
	return d, nil
}

// Load implements Loader by init_module(2).
func (l *KernelLoader) Load(path, params string) error {
	image, err := readModule(l.zstd, path)
	if err != nil {
		return fmt.Errorf("cannot load module %s: %w", path, err)
	}
	if err := unix.InitModule(image, params); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot load module %s: %w", path, err)
	}
	return nil
}

// readModule reads a module file and unpacks it if its name says so.
func readModule(d *zstd.Decoder, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > MaxModule {
		return nil, fmt.Errorf("%d bytes are too many", fi.Size())
	}
	raw := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, err
	}
	if !strings.HasSuffix(path, ".zst") {
		return raw, nil
	}
	image, err := d.DecodeAll(raw, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot unpack: %w", err)
	}
	return image, nil
}
