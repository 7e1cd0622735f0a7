// Package firmware finds the firmware that kernel modules ask for in Debian's packages of it.
package firmware

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sanstick/imagebuild/rootfs"
)

// Dir is where the kernel looks for firmware.
const Dir = "lib/firmware/"

// A place says in which package names that begin so are.
type place struct{ begin, name string }

const misc = "firmware-misc-nonfree"

// places are those of Debian 12, and with the kernels of Debian 13, which has split a package, of that.
func places(kernel string) []place {
	intel, graphics, nvidia, mediatek, carl := misc, misc, misc, misc, "firmware-linux-free"
	if split(kernel) {
		intel, graphics, nvidia, mediatek, carl = "firmware-intel-misc", "firmware-intel-graphics", "firmware-nvidia-graphics", "firmware-mediatek", "firmware-carl9170"
	}
	return []place{
		{"rtl_nic/", "firmware-realtek"}, {"rtl_bt/", "firmware-realtek"}, {"rtlwifi/", "firmware-realtek"}, {"rtw8", "firmware-realtek"},
		{"bnx2/", "firmware-bnx2"}, {"bnx2x/", "firmware-bnx2x"},
		{"cbfw-", "firmware-qlogic"}, {"ctfw-", "firmware-qlogic"}, {"ct2fw-", "firmware-qlogic"}, {"qed/", "firmware-qlogic"}, {"ql2", "firmware-qlogic"}, {"qlogic/", "firmware-qlogic"},
		{"myri10ge_", "firmware-myricom"}, {"phanfw", "firmware-netxen"}, {"cavium/", "firmware-cavium"}, {"liquidio/", "firmware-cavium"}, {"netronome/", "firmware-netronome"},
		{"isci/", "firmware-linux-free"}, {"carl9170", carl}, {"keyspan_pda/", "firmware-linux-free"},
		{"iwlwifi-", "firmware-iwlwifi"}, {"ath", "firmware-atheros"}, {"brcm/", "firmware-brcm80211"}, {"amdgpu/", "firmware-amd-graphics"}, {"radeon/", "firmware-amd-graphics"},
		{"e100/", intel}, {"intel/", intel}, {"hfi1_", intel}, {"qat_", intel}, {"i915/", graphics}, {"nvidia/", nvidia}, {"mediatek/", mediatek}, {"mt76", mediatek},
		{"3com/", misc}, {"advansys/", misc}, {"cxgb3/", misc}, {"cxgb4/", misc}, {"ene-ub6250/", misc}, {"kaweth/", misc}, {"mellanox/", misc}, {"moxa/", misc},
		{"rt2", misc}, {"rt3", misc}, {"rt73", misc}, {"tehuti/", misc}, {"tigon/", misc},
	}
}

// split tells whether a kernel is one of Debian 13 or later: 6.12 or newer.
func split(kernel string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(kernel, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 6 || major == 6 && minor >= 12
}

// Packages names the packages that have firmware of these names for a Debian kernel of that version, sorted. Some is in
// none.
func Packages(kernel string, names []string) []string {
	var out []string
	for _, n := range names {
		for _, p := range places(kernel) {
			if strings.HasPrefix(n, p.begin) && !slices.Contains(out, p.name) {
				out = append(out, p.name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// A File is a file of firmware.
type File struct {
	Name    string // below Dir; a compressed one has the ending that says so
	Package string
	Data    []byte
}

// maxFile bounds a file of firmware; all of it lies in the appliance's memory.
const maxFile = 64 << 20

// endings are those of firmware that the kernel expands.
var endings = [...]string{"", ".xz", ".zst"}

// Find takes the firmware of these names, which may have wildcards, from the unpacked tree of Packages. lacking are those
// that no package has. Both are sorted.
func Find(t rootfs.Tree, kernel string, names []string) (found []File, lacking []string, err error) {
	have := make(map[string]File)
	for _, n := range names {
		matches, err := match(t, n)
		if err != nil {
			return nil, nil, err
		}
		if len(Packages(kernel, []string{n})) == 0 {
			matches = nil // whose it is couldn't be told
		}
		if len(matches) == 0 {
			lacking = append(lacking, n)
		}
		for _, m := range matches {
			if _, ok := have[m]; ok {
				continue
			}
			f, err := read(t, m)
			if err != nil {
				return nil, nil, err
			}
			f.Package = Packages(kernel, []string{n})[0]
			have[m] = f
		}
	}
	for _, f := range have {
		found = append(found, f)
	}
	slices.SortFunc(found, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(lacking)
	return found, lacking, nil
}

// match returns the files that a name stands for.
func match(t rootfs.Tree, name string) ([]string, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("cannot use firmware %q: that is no name of a file", name)
	}
	if strings.ContainsAny(name, "*?[") {
		return glob(t, name)
	}
	for _, e := range endings {
		_, err := t.Path(Dir + name + e)
		if err == nil {
			return []string{name + e}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, nil
}

func glob(t rootfs.Tree, name string) ([]string, error) {
	var out []string
	for _, dir := range []string{Dir, "usr/" + Dir} {
		all, err := filepath.Glob(filepath.Join(t.Dir, dir, path.Dir(name), "*"))
		if err != nil {
			return nil, fmt.Errorf("cannot look for firmware %s: %w", name, err)
		}
		for _, file := range all {
			rel := path.Join(path.Dir(name), filepath.Base(file))
			for _, e := range endings {
				if ok, err := path.Match(name, strings.TrimSuffix(rel, e)); err == nil && ok && !slices.Contains(out, rel) {
					out = append(out, rel)
				}
			}
		}
	}
	return out, nil
}

func read(t rootfs.Tree, name string) (File, error) {
	p, err := t.Path(Dir + name)
	if err != nil {
		return File{}, err
	}
	st, err := os.Stat(p)
	if err != nil || !st.Mode().IsRegular() || st.Size() > maxFile {
		return File{}, errors.Join(fmt.Errorf("cannot use firmware %s: want a file of at most %d MiB", name, maxFile>>20), err)
	}
	data, err := os.ReadFile(p)
	if err != nil {
		return File{}, fmt.Errorf("cannot read firmware %s: %w", name, err)
	}
	return File{Name: name, Data: data}, nil
}
