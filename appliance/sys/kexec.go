package sys

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Kexec keeps a kernel ready in memory, to be started by Power.Kexec.
type Kexec interface {
	// Load reads a kernel and an initramfs. Under Secure Boot the kernel must be signed
	// with a key that the running one knows. What was loaded before is replaced.
	Load(kernel, initramfs *os.File, cmdline string) error
	// Unload forgets it. It is no error if nothing is loaded.
	Unload() error
}

// KernelKexec is the running kernel's Kexec.
type KernelKexec struct {
	Procfs string // "/proc" if it is empty
}

// kexecSpare is how much memory, in bytes, must be left while a kernel is loaded.
const kexecSpare = 64 << 20

// Load implements Kexec. For a moment it takes twice as much memory as the files are
// long; it is refused where that isn't free, so that nothing else has to give way.
func (k KernelKexec) Load(kernel, initramfs *os.File, cmdline string) error {
	need := int64(kexecSpare)
	for _, f := range []*os.File{kernel, initramfs} {
		st, err := f.Stat()
		if err != nil {
			return fmt.Errorf("cannot load a kernel: %w", err)
		}
		need += 2 * st.Size()
	}
	if free, known := k.available(); known && free < need {
		return fmt.Errorf("cannot load a kernel: that takes %d MiB of memory, and %d MiB are free", need>>20, free>>20)
	}
	if err := unix.KexecFileLoad(int(kernel.Fd()), int(initramfs.Fd()), cmdline, 0); err != nil {
		return fmt.Errorf("cannot load a kernel: %w", err)
	}
	return nil
}

// Unload implements Kexec.
func (KernelKexec) Unload() error {
	if err := unix.KexecFileLoad(-1, -1, "", unix.KEXEC_FILE_UNLOAD); err != nil {
		return fmt.Errorf("cannot unload a kernel: %w", err)
	}
	return nil
}

// available is how many bytes of memory programs can have.
func (k KernelKexec) available() (bytes int64, known bool) {
	procfs := k.Procfs
	if procfs == "" {
		procfs = "/proc"
	}
	b, err := os.ReadFile(filepath.Join(procfs, "meminfo"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, true
		}
	}
	return 0, false
}

// KexecLoaded tells whether a kernel is loaded that Power.Kexec would start.
func KexecLoaded(sysfs string) bool {
	b, err := os.ReadFile(filepath.Join(sysfs, "kernel/kexec_loaded"))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}
