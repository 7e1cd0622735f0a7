package image

import (
	"fmt"
	"regexp"
	"strings"

	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/initramfs"
	"sanstick/imagebuild/sbom"
)

// Custom is what an image has that isn't in every one. The zero value is nothing.
type Custom struct {
	Add      []string // files and trees that go into the initramfs: see initramfs.Added
	Modules  []string // names of kernel modules
	Firmware bool     // that the modules ask for, from Debian's packages
	Boot     esp.Boot // for GRUB; an update doesn't bring it
}

// moduleName is what a kernel module can be called.
var moduleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// read checks all that can be checked before anything is fetched or built, and reads the files to add.
func (c Custom) read() ([]initramfs.File, error) {
	for _, m := range c.Modules {
		if !moduleName.MatchString(m) || len(m) > 64 {
			return nil, fmt.Errorf("cannot add the kernel module %q: that is no module's name", m)
		}
	}
	if err := c.Boot.Check(); err != nil {
		return nil, err
	}
	return initramfs.Added(c.Add)
}

// options says in the manifest what was asked for. The files that were added are listed there themselves.
func (c Custom) options() string {
	var words []string
	if len(c.Modules) > 0 {
		words = append(words, "--modules "+strings.Join(c.Modules, ","))
	}
	if c.Firmware {
		words = append(words, "--firmware")
	}
	return strings.Join(words, " ")
}

// bootOptions is options with those of GRUB's configuration.
func (c Custom) bootOptions() string {
	words := []string{c.options()}
	for _, x := range c.Boot.Consoles {
		words = append(words, "--console "+x)
	}
	if c.Boot.Args != "" {
		words = append(words, fmt.Sprintf("--cmdline %q", c.Boot.Args))
	}
	return strings.TrimSpace(strings.Join(words, " "))
}

// suffix marks the version of a system that isn't like every one of its source.
func (c Custom) suffix() string {
	if len(c.Add) > 0 || len(c.Modules) > 0 || c.Firmware {
		return "+custom"
	}
	return ""
}

// inside tells the manifest of added files.
func inside(files []initramfs.File) []sbom.File {
	var out []sbom.File
	for _, f := range files {
		switch {
		case f.Dir:
		case f.Link != "":
			out = append(out, sbom.File{Name: f.Name, SHA256: sbom.HashOf([]byte(f.Link)), Comment: "in the initramfs, a symbolic link to " + f.Link})
		default:
			out = append(out, sbom.File{Name: f.Name, SHA256: sbom.HashOf(f.Data), Comment: fmt.Sprintf("in the initramfs, mode %04o", f.Mode)})
		}
	}
	return out
}
