// Package verify checks an image, an ISO image or a stick against the manifest on its boot volume. On a stick that is in
// use some things differ lawfully; each of them is held to what describes it there.
package verify

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/iso"
	"sanstick/imagebuild/sbom"
	"sanstick/imagebuild/stick"
)

// Manifest is the name of the manifest on the boot volume.
const Manifest = "manifest.json"

// A Report says what was found.
type Report struct {
	Good  int      // files that are as the manifest, or what describes their slot, says
	Notes []string // what differs lawfully, and what is worth knowing
	Wrong []string // an entry for each file that isn't what it should be
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *Report) wrong(name, format string, args ...any) {
	r.Wrong = append(r.Wrong, name+": "+fmt.Sprintf(format, args...))
}

// Check reads every file that is for starting the machine from the image, the ISO image or the stick in path.
func Check(path string) (Report, error) {
	var r Report
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("cannot open the image: %w", err)
	}
	defer f.Close()
	if iso.Is(f) {
		err = r.iso(f)
	} else {
		err = r.stick(f)
	}
	if err != nil {
		return r, fmt.Errorf("cannot verify %s: %w", path, err)
	}
	slices.Sort(r.Wrong)
	return r, nil
}

// volume is the files of a volume by their names.
type volume map[string][]byte

func byName(files []stick.File) volume {
	v := make(volume)
	for _, f := range files {
		v[f.Name] = f.Data
	}
	return v
}

// manifest reads which files there should be.
func (v volume) manifest(label string) ([]sbom.File, error) {
	text, ok := v[Manifest]
	if !ok {
		return nil, fmt.Errorf("there is no %s on the volume %s", Manifest, label)
	}
	return sbom.Files(text)
}

// compare holds a file to the manifest.
func (r *Report) compare(v volume, name string, want sbom.File) {
	data, ok := v[name]
	switch {
	case !ok:
		r.wrong(want.Name, "is missing")
	case sbom.HashOf(data) != want.SHA256:
		r.wrong(want.Name, "has SHA-256 %s, the manifest says %s", sbom.HashOf(data), want.SHA256)
	default:
		r.Good++
	}
}

// stick checks an image, or a stick that may have been used and updated.
func (r *Report) stick(f *os.File) error {
	files, err := stick.BootFiles(f)
	if err != nil {
		return err
	}
	code, err := stick.ReadCode(f)
	if err != nil {
		return err
	}
	if err := r.boot(byName(files), code); err != nil {
		return err
	}
	r.config(f)
	return nil
}

// boot checks the boot volume of a stick, and the code outside of it.
func (r *Report) boot(v volume, code []stick.File) error {
	want, err := v.manifest(stick.BootLabel)
	if err != nil {
		return err
	}
	r.code(v, want, code)
	named := map[string]bool{Manifest: true, esp.Environment: true}
	for _, w := range want {
		if named[w.Name] = true; slotOf(w.Name) == "" {
			r.compare(v, w.Name, w)
		}
	}
	r.slots(v, want)
	for name := range v {
		switch {
		case named[name] || slotOf(name) != "":
		case found(name):
			r.note("%s: was found by fsck.fat after a power cut; the appliance removes it at the next update", name)
		default:
			r.wrong(name, "isn't in the manifest")
		}
	}
	return nil
}

// code adds what lies outside of the volumes to the files, if the manifest names it. Older ones don't.
func (r *Report) code(v volume, want []sbom.File, code []stick.File) {
	for _, c := range code {
		if slices.ContainsFunc(want, func(w sbom.File) bool { return w.Name == c.Name }) {
			v[c.Name] = c.Data
		} else {
			r.note("%s, outside of the volumes, isn't in the manifest, and wasn't checked", c.Name)
		}
	}
}

// found tells whether a file is one that fsck.fat makes of what belonged to no file any more.
func found(name string) bool {
	name = strings.ToUpper(name)
	return strings.HasPrefix(name, "FSCK") && strings.HasSuffix(name, ".REC") && !strings.Contains(name, "/")
}

// iso checks an ISO image, whose names have no case.
func (r *Report) iso(f *os.File) error {
	files, efi, err := iso.Files(f)
	if err != nil {
		return err
	}
	v, e := byName(files), byName(efi)
	want, err := v.manifest("of the ISO image")
	if err != nil {
		return err
	}
	code, err := iso.ReadCode(f)
	if err != nil {
		return err
	}
	r.code(v, want, []stick.File{code})
	named := map[string]bool{Manifest: true, iso.EFIImage: true}
	loaders := make(map[string]bool)
	for _, w := range want {
		name := strings.ToLower(w.Name)
		if strings.HasPrefix(name, "efi/") {
			loaders[name] = true
			inEFI := w
			inEFI.Name = iso.EFIImage + ", " + w.Name
			r.compare(e, name, inEFI)
			if _, ok := v[name]; !ok {
				continue // but for grub.cfg they are there only
			}
		}
		named[name] = true
		r.compare(v, name, w)
	}
	if !named[grubConfig] {
		r.wrong(grubConfig, "is missing")
	}
	for name := range v {
		if !named[name] {
			r.wrong(name, "isn't in the manifest")
		}
	}
	for name := range e {
		if !loaders[name] {
			r.wrong(iso.EFIImage+", "+name, "isn't in the manifest")
		}
	}
	r.config(f)
	return nil
}

// grubConfig is on both volumes of an ISO image.
const grubConfig = "efi/debian/grub.cfg"

// ErrWrong is what a Report with something wrong comes to.
var ErrWrong = errors.New("the image isn't what its manifest says")
