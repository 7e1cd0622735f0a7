package probe_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/probe"
)

// A maker puts something on a disk with the tool that people use for it.
type maker struct {
	tool string
	args func(r *rand.Rand) []string // what comes before the disk's name
	mib  [2]int64                    // smallest and largest size
	what string                      // of the finding
	name string                      // the label that the tool was told
	pkg  string                      // Debian's package
}

func fixed(args ...string) func(*rand.Rand) []string {
	return func(*rand.Rand) []string { return args }
}

func oneOf(r *rand.Rand, all ...string) string { return all[r.IntN(len(all))] }

var makers = []maker{
	{"mkfs.ext2", func(r *rand.Rand) []string {
		return []string{"-q", "-F", "-L", "old", "-b", oneOf(r, "1024", "2048", "4096")}
	}, [2]int64{8, 2000}, "ext2 filesystem", "old", "e2fsprogs"},
	{"mkfs.ext3", func(r *rand.Rand) []string {
		return []string{"-q", "-F", "-L", "home", "-b", oneOf(r, "1024", "2048", "4096")}
	}, [2]int64{16, 2000}, "ext3 filesystem", "home", "e2fsprogs"},
	{"mkfs.ext4", func(r *rand.Rand) []string {
		return []string{"-q", "-F", "-L", "root", "-b", oneOf(r, "1024", "2048", "4096"), "-O", oneOf(r, "64bit", "^64bit", "sparse_super2", "^flex_bg", "bigalloc"), "-m", "0"}
	}, [2]int64{16, 9000}, "ext4 filesystem", "root", "e2fsprogs"},
	{"mkfs.xfs", func(r *rand.Rand) []string {
		return []string{"-q", "-f", "-L", "data", "-m", oneOf(r, "crc=0", "crc=1"), "-b", "size=" + oneOf(r, "1024", "4096")}
	}, [2]int64{320, 5000}, "xfs filesystem", "data", "xfsprogs"},
	{"mkfs.btrfs", func(r *rand.Rand) []string {
		return []string{"-q", "-f", "-L", "tree", "-m", oneOf(r, "single", "dup"), "--csum", oneOf(r, "crc32c", "xxhash")}
	}, [2]int64{128, 4000}, "btrfs filesystem", "tree", "btrfs-progs"},
	{"mkfs.ntfs", func(r *rand.Rand) []string {
		return []string{"-F", "-Q", "-q", "-L", "Windows", "-c", oneOf(r, "4096", "8192", "65536")}
	}, [2]int64{8, 4000}, "NTFS filesystem", "Windows", "ntfs-3g"},
	{"mkfs.exfat", func(r *rand.Rand) []string { return []string{"-L", "Stick", "-c", oneOf(r, "4K", "32K", "128K")} },
		[2]int64{64, 4000}, "exFAT filesystem", "Stick", "exfatprogs"},
	{"mkfs.vfat", fixed("-F", "12", "-n", "FLOPPY"), [2]int64{2, 16}, "FAT filesystem", "FLOPPY", "dosfstools"},
	{"mkfs.vfat", fixed("-F", "16", "-n", "DOS"), [2]int64{16, 500}, "FAT filesystem", "DOS", "dosfstools"},
	{"mkfs.vfat", func(r *rand.Rand) []string {
		return []string{"-F", "32", "-n", "CAMERA", "-S", oneOf(r, "512", "4096"), "-s", "8"}
	}, [2]int64{2100, 4000}, "FAT filesystem", "CAMERA", "dosfstools"},
	{"mkfs.f2fs", fixed("-q", "-f", "-l", "phone"), [2]int64{128, 2000}, "f2fs filesystem", "phone", "f2fs-tools"},
	{"mkswap", func(r *rand.Rand) []string {
		return []string{"-q", "-L", "sw", "-p", oneOf(r, "4096", "8192", "16384", "32768", "65536")}
	}, [2]int64{8, 1000}, "swap space", "sw", "util-linux"},
	{"cryptsetup", func(r *rand.Rand) []string {
		return []string{"luksFormat", "--type", "luks2", "--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
			"--label", "secret", "--luks2-metadata-size", oneOf(r, "16k", "64k", "1m", "4m"), "--key-file", "/etc/hostname"}
	}, [2]int64{32, 2000}, "LUKS encrypted volume", "secret", "cryptsetup-bin"},
	{"cryptsetup", fixed("luksFormat", "--type", "luks1", "--batch-mode", "--pbkdf-force-iterations", "1000", "--key-file", "/etc/hostname"),
		[2]int64{16, 2000}, "LUKS encrypted volume", "", "cryptsetup-bin"},
	{"sgdisk", fixed("-n", "1:0:+2M", "-n", "2:0:0"), [2]int64{16, 4000}, "GPT partition table", "", "gdisk"},
}

// TestRealTools makes disks of random size with random options, and wipes more
// and more of their beginning, as people do who want to be rid of something.
// Each is known by name when it is whole; none is blank as long as a byte is
// left on it; and all are when what Ranges names is zeroed.
func TestRealTools(t *testing.T) {
	const rounds = 2
	for i, m := range makers {
		t.Run(m.tool+" "+m.what, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(i), 2026))
			for range rounds {
				size := m.mib[0] + r.Int64N(m.mib[1]-m.mib[0])
				if r.IntN(2) == 0 {
					size = m.mib[0] + r.Int64N(min(64, m.mib[1]-m.mib[0])) // those that are read completely matter, too
				}
				checkMade(t, r, m, size<<20+int64(r.IntN(8))*512*8)
			}
		})
	}
}

func checkMade(t *testing.T, r *rand.Rand, m maker, size int64) {
	args := m.args(r)
	f := made(t, m, args, size)
	defer f.Close()
	about := fmt.Sprintf("%s %s on %d bytes", m.tool, strings.Join(args, " "), size)

	got, err := probe.Probe(f, size)
	if err != nil || got.What != m.what || got.Label != m.name {
		t.Errorf("%s: found %+v, %v", about, got, err)
	}
	list, err := probe.List(f, size)
	if err != nil || len(list) == 0 || list[0].What != m.what || list[0].Label != m.name {
		t.Errorf("%s: listed %+v, %v", about, list, err)
	}
	if list[0].Size > size || list[0].Size < size/2 && m.tool != "cryptsetup" && m.tool != "sgdisk" {
		t.Errorf("%s: it says that it has %d bytes", about, list[0].Size)
	}

	wipes := []int64{512, 4096, 64 << 10, 1<<20 + 512, 4 << 20}
	for range 3 {
		wipes = append(wipes, r.Int64N(min(size, 512<<20)))
	}
	for _, n := range wipes {
		left := dataBeyond(t, f, n)
		got, err := probe.Probe(wiped{f, n}, size)
		if err != nil || got.Blank != (left < 0) {
			t.Errorf("%s: with %d bytes wiped and data left at %d: %+v, %v", about, n, left, got, err)
		}
	}
	got, err = probe.Probe(wipedRanges{f, probe.Ranges(size, list)}, size)
	if err != nil || !got.Blank {
		t.Errorf("%s: after a wipe: %+v, %v", about, got, err)
	}
}

// TestLargeDisks wipes more and more of the beginning of disks that are too large to be
// read completely. The copies that the tools put further behind are found, and known by
// name.
func TestLargeDisks(t *testing.T) {
	const tib = 1024 * gib
	for _, tt := range []struct {
		maker
		size  int64
		wiped []int64
		left  string // what is found then begins with it
	}{
		{maker{tool: "mkfs.btrfs", args: fixed("-q", "-f", "-m", "single"), pkg: "btrfs-progs"}, 257 * gib, []int64{1 << 20, 64<<20 + 4096, gib, 256 * gib}, "btrfs filesystem"},
		{maker{tool: "mkfs.xfs", args: fixed("-q", "-f"), pkg: "xfsprogs"}, 100*gib + 4096*5, []int64{1 << 20, 20 * gib, 70 * gib}, "xfs filesystem"},
		{maker{tool: "mkfs.xfs", args: fixed("-q", "-f"), pkg: "xfsprogs"}, 6*tib + 4096*77, []int64{1 << 20, 900 * gib, 4 * tib}, "xfs filesystem"},
		{maker{tool: "mkfs.xfs", args: fixed("-q", "-f", "-d", "agcount=32"), pkg: "xfsprogs"}, 2 * tib, []int64{1 << 20, tib}, "xfs filesystem"},
		{maker{tool: "mkfs.ext4", args: fixed("-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"), pkg: "e2fsprogs"}, tib, []int64{1 << 20, 100 << 20, 8 * gib, 300 * gib}, "ext"},
		{maker{tool: "mkfs.ntfs", args: fixed("-F", "-Q", "-q"), pkg: "ntfs-3g"}, 600 * gib, []int64{1 << 20, gib, 500 * gib}, "NTFS filesystem"},
		{maker{tool: "sgdisk", args: fixed("-n", "1:0:0"), pkg: "gdisk"}, 10 * tib, []int64{1 << 20, 9 * tib}, "GPT partition table"},
	} {
		t.Run(fmt.Sprintf("%s of %d GiB", tt.tool, tt.size/gib), func(t *testing.T) {
			t.Parallel()
			f := made(t, tt.maker, tt.args(nil), tt.size)
			defer f.Close()
			for _, n := range append(tt.wiped, 0) {
				got, err := probe.Probe(wiped{f, n}, tt.size)
				if err != nil || got.Blank || !strings.HasPrefix(got.What, tt.left) {
					t.Errorf("with %d bytes wiped: %+v, %v", n, got, err)
				}
			}
			list, err := probe.List(f, tt.size)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := probe.Probe(wipedRanges{f, probe.Ranges(tt.size, list)}, tt.size); err != nil || !got.Blank {
				t.Errorf("after a wipe: %+v, %v", got, err)
			}
		})
	}
}

// made runs the tool on a fresh disk.
func made(t *testing.T, m maker, args []string, size int64) *os.File {
	t.Helper()
	path, err := exec.LookPath(m.tool)
	if err != nil {
		path = "/usr/sbin/" + m.tool // not in everybody's PATH
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, append(args, f.Name())...).CombinedOutput(); err != nil {
		t.Fatalf("%s (Debian package %s) %v: %v: %s", m.tool, m.pkg, args, err, out)
	}
	return f
}

// dataBeyond finds the first byte at or behind off that isn't zero, or -1.
func dataBeyond(t *testing.T, f *os.File, off int64) int64 {
	t.Helper()
	buf := make([]byte, 1<<20)
	for {
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
		hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			t.Fatal(err)
		}
		for off = data; off < hole; {
			n, err := f.ReadAt(buf[:min(int64(len(buf)), hole-off)], off)
			if bytes.Count(buf[:n], []byte{0}) < n {
				for i, c := range buf[:n] {
					if c != 0 {
						return off + int64(i)
					}
				}
			}
			if off += int64(n); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
	}
}

// wiped is a disk of which the first n bytes were overwritten with zeros.
type wiped struct {
	r io.ReaderAt
	n int64
}

func (w wiped) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	if off < w.n {
		clear(p[:min(int64(n), w.n-off)])
	}
	return n, err
}

// wipedRanges is a disk of which some ranges were overwritten with zeros.
type wipedRanges struct {
	r      io.ReaderAt
	ranges [][2]int64
}

func (w wipedRanges) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	for _, r := range w.ranges {
		if from, to := max(r[0], off), min(r[1], off+int64(n)); from < to {
			clear(p[from-off : to-off])
		}
	}
	return n, err
}
