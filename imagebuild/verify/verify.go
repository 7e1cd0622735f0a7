// Package verify checks an image or a stick against the manifest on its boot volume.
package verify

import (
	"fmt"
	"os"
	"slices"

	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/sbom"
	"sanstick/imagebuild/stick"
)

// Manifest is the name of the manifest on the boot volume.
const Manifest = "manifest.json"

// changing are the files that the boot loader and the appliance write to.
var changing = []string{Manifest, esp.Environment}

// Check reads every file of the boot volume of the image or the stick in path, and returns how many are as the manifest
// says and what is not: an entry for each file that differs, is missing or isn't named.
func Check(path string) (good int, differs []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot open the image: %w", err)
	}
	defer f.Close()
	files, err := stick.BootFiles(f)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot verify %s: %w", path, err)
	}
	hashes := make(map[string]string)
	var manifest []byte
	for _, file := range files {
		if file.Name == Manifest {
			manifest = file.Data
		}
		hashes[file.Name] = sbom.HashOf(file.Data)
	}
	if manifest == nil {
		return 0, nil, fmt.Errorf("cannot verify %s: there is no %s on the volume %s", path, Manifest, stick.BootLabel)
	}
	want, err := sbom.Files(manifest)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot verify %s: %w", path, err)
	}
	good, differs = compare(want, hashes)
	return good, differs, nil
}

// compare compares the files that there are with those of the manifest.
func compare(want []sbom.File, hashes map[string]string) (good int, differs []string) {
	named := make(map[string]bool)
	for _, w := range want {
		named[w.Name] = true
		switch got, ok := hashes[w.Name]; {
		case !ok:
			differs = append(differs, w.Name+": is missing")
		case got != w.SHA256:
			differs = append(differs, fmt.Sprintf("%s: has SHA-256 %s, the manifest says %s", w.Name, got, w.SHA256))
		default:
			good++
		}
	}
	for name := range hashes {
		if !named[name] && !slices.Contains(changing, name) {
			differs = append(differs, name+": isn't in the manifest")
		}
	}
	slices.Sort(differs)
	return good, differs
}
